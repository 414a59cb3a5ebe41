using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace OneStep.Tests
{
    internal static class Check
    {
        public static void True(bool condition, string what)
        {
            if (!condition) throw new Exception("not so: " + what);
        }

        public static void Equal<T>(T expected, T found, string what)
        {
            if (!EqualityComparer<T>.Default.Equals(expected, found))
                throw new Exception(what + ": expected " + expected + ", found " + found);
        }

        public static void Same(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> found, string what)
        {
            True(expected.SequenceEqual(found), what + " are the same bytes");
        }

        /// <summary>What <paramref name="act"/> throws, which must be a T and nothing derived from it.</summary>
        public static T Throws<T>(Action act) where T : Exception
        {
            try
            {
                act();
            }
            catch (Exception e) when (e.GetType() == typeof(T))
            {
                return (T)e;
            }
            throw new Exception("expected " + typeof(T).Name + ", nothing was thrown");
        }

        /// <summary>A OneStepException of this kind whose message has this in it.</summary>
        public static OneStepException Fails(Status code, string part, Action act)
        {
            OneStepException thrown = Throws<OneStepException>(act);
            Equal(code, thrown.Code, "the code of '" + thrown.Message + "'");
            True(thrown.Message.Contains(part), "'" + thrown.Message + "' has '" + part + "' in it");
            return thrown;
        }

        public static T Throws<T>(Task task) where T : Exception
        {
            return Throws<T>(() => task.GetAwaiter().GetResult());
        }
    }
}
