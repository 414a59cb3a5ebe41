using System;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace OneStep
{
    /// <summary>Hears of a call's progress, on the thread that made the call; false cancels. An exception cancels too, and
    /// leaves through the call. It must not use the session that is calling: that one answers Busy.</summary>
    public delegate bool ProgressHandler(Phase phase, uint done, uint total);

    /// <summary>The progress of the call that this thread is in. Callbacks run on the calling thread, so the library's
    /// user pointer is not needed, and nothing has to be kept alive for it.</summary>
    internal sealed class Progress
    {
        private static readonly NativeProgress hear = Hear;

        /// <summary>What the library calls.</summary>
        public static readonly IntPtr Function = Marshal.GetFunctionPointerForDelegate(hear);

        // A handler may call another session, so calls nest.
        [ThreadStatic] private static Progress current;

        private readonly ProgressHandler handler;
        private readonly Progress outer;
        private ExceptionDispatchInfo thrown;

        public Progress(ProgressHandler handler)
        {
            this.handler = handler;
            outer = current;
            current = this;
        }

        public void End() { current = outer; }

        /// <summary>Lets go on its way what the handler threw.</summary>
        public void Rethrow() { thrown?.Throw(); }

        // Nothing may unwind through the library's frames.
        [MonoPInvokeCallback(typeof(NativeProgress))]
        private static int Hear(IntPtr user, int phase, uint done, uint total)
        {
            Progress heard = current;
            if (heard == null) return 0;
            try
            {
                return heard.handler((Phase)phase, done, total) ? 0 : 1;
            }
            catch (Exception e)
            {
                heard.thrown = ExceptionDispatchInfo.Capture(e);
                return 1;
            }
        }
    }

    /// <summary>Tells ahead-of-time compilers (Unity's IL2CPP) to make a method callable from C. They go by the name, so
    /// Unity's assembly is not needed for it.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        public MonoPInvokeCallbackAttribute(Type type) { Type = type; }
        public Type Type { get; }
    }
}
