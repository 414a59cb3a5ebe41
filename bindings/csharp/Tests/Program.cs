using System;
using System.Linq;
using System.Reflection;

namespace OneStep.Tests
{
    /// <summary>Runs every public static method without arguments of the classes whose names end in Tests.
    /// Usage: Tests REPOSITORY [PART OF A NAME]. Needs no test framework, so that mono and .NET run the same.</summary>
    internal static class Program
    {
        public static string Repository { get; private set; }

        private static int Main(string[] args)
        {
            Repository = args[0];
            string wanted = args.Length > 1 ? args[1] : "";
            int passed = 0, failed = 0, skipped = 0;
            var tests = from type in typeof(Program).Assembly.GetTypes()
                        where type.Name.EndsWith("Tests")
                        orderby type.Name
                        from method in type.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
                        let name = type.Name + "." + method.Name
                        where name.Contains(wanted)
                        select new { name, run = (Action)Delegate.CreateDelegate(typeof(Action), method) };
            foreach (var test in tests)
            {
                var clock = System.Diagnostics.Stopwatch.StartNew();
                try
                {
                    test.run();
                    passed++;
                    Console.WriteLine("ok      {0} ({1} ms)", test.name, clock.ElapsedMilliseconds);
                }
                catch (Skipped reason)
                {
                    skipped++;
                    Console.WriteLine("skipped {0}: {1}", test.name, reason.Message);
                }
                catch (Exception e)
                {
                    failed++;
                    Console.WriteLine("FAILED  {0}: {1}", test.name, e);
                }
            }
            Console.WriteLine("{0} passed, {1} failed, {2} skipped", passed, failed, skipped);
            return failed == 0 && passed != 0 ? 0 : 1;
        }
    }

    internal sealed class Skipped : Exception
    {
        public Skipped(string reason) : base(reason) { }
    }
}
