using System;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;

namespace OneStep.Bench
{
    /// <summary>What C# adds to a call. The same calls, of one image of the default model, in C and in C#, on the same
    /// session, request and memory, in turns. Against the stub library, whose calls do nothing, the difference is the
    /// overhead itself; against the real one, what is left of it beside the work. Usage: Bench CALLS ROUNDS [MOST], of which MOST is the
    /// nanoseconds a call that C# may add.</summary>
    internal static unsafe class Program
    {
        [DllImport("onestep_bench", CallingConvention = CallingConvention.Cdecl)]
        private static extern double onestep_bench_loop(SafeHandle session, SafeHandle request, ref NativeLayout layout, byte* pixels, UIntPtr size, int calls);

        [StructLayout(LayoutKind.Sequential)]
        private struct NativeLayout
        {
            public uint StructSize;
            public int Format;
            public uint Flags, Reserved;
            public ulong RowStride, PlaneStride, ImageStride;
        }

        private static int Main(string[] args)
        {
            int calls = int.Parse(args[0]), rounds = int.Parse(args[1]);
            var pixels = new byte[16 * 16 * 4];
            var native = new NativeLayout { StructSize = (uint)sizeof(NativeLayout), Format = (int)PixelFormat.Rgba8 };
            var c = new double[rounds];
            var cs = new double[rounds];
            using (var options = new ModelOptions().SetThreads(1))
            using (Model model = Model.OpenDefault(options))
            using (Session session = model.CreateSession(options))
            using (Request request = new Request().SetSeeds(1).SetLabels(4))
            {
                SafeHandle sessionHandle = Handle(session), requestHandle = Handle(request);
                for (int round = -2; round < rounds; round++) // Two to warm up, and to compile.
                {
                    double fromC = 0, fromCSharp = 0;
                    for (int turn = 0; turn < 2; turn++)
                    {
                        if ((turn + round) % 2 == 0)
                            fixed (byte* to = pixels)
                                fromC = onestep_bench_loop(sessionHandle, requestHandle, ref native, to, (UIntPtr)pixels.Length, calls);
                        else
                            fromCSharp = Loop(session, request, pixels, calls);
                    }
                    if (fromC < 0) throw new Exception("the loop in C failed");
                    if (round < 0) continue;
                    c[round] = fromC / calls * 1e9;
                    cs[round] = fromCSharp / calls * 1e9;
                }
            }
            double medianC = Median(c), medianCSharp = Median(cs);
            double added = Median(c.Zip(cs, (a, b) => b - a).ToArray());
            Console.WriteLine("{0} rounds of {1} calls: C {2:F0} ns a call, C# {3:F0}; added {4:F0} by the median of differences, {5:F0} by the minima",
                rounds, calls, medianC, medianCSharp, added, cs.Min() - c.Min());
            if (args.Length < 3) return 0;
            double most = double.Parse(args[2], CultureInfo.InvariantCulture);
            Console.WriteLine("{0} at most: {1}", most, added <= most ? "ok" : "FAILED");
            return added <= most ? 0 : 1;
        }

        private static double Loop(Session session, Request request, byte[] pixels, int calls)
        {
            var clock = Stopwatch.StartNew();
            for (int i = 0; i < calls; i++) session.SampleInto(request, PixelFormat.Rgba8, pixels);
            return clock.Elapsed.TotalSeconds;
        }

        /// <summary>The handle inside, which no program needs but this one.</summary>
        private static SafeHandle Handle(object owner)
        {
            return (SafeHandle)owner.GetType().GetFields(BindingFlags.Instance | BindingFlags.NonPublic)
                .Select(field => field.GetValue(owner)).First(value => value is SafeHandle);
        }

        private static double Median(double[] values)
        {
            double[] sorted = values.OrderBy(v => v).ToArray();
            return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
        }
    }
}
