using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Reflection;
using System.Threading;
using System.Threading.Tasks;

namespace OneStep.Tests
{
    /// <summary>Dispose, the garbage collector, threads, and what ten thousand draws leave behind.</summary>
    internal static class LifetimeTests
    {
        public static void DisposeTwiceAndUseAfterIt()
        {
            Model model = Digits.Open();
            Session session = model.CreateSession();
            Request request = Digits.Request(1);
            var options = new ModelOptions();
            byte[] pixels = session.Sample(request);

            model.Dispose();
            model.Dispose();
            Check.Equal(16, model.Info.Width, "what is known of a disposed model");
            Check.Throws<ObjectDisposedException>(() => model.CreateSession());
            Check.Throws<ObjectDisposedException>(() => model.EstimateMemory(1));
            Check.Throws<ObjectDisposedException>(() => model.Noise(1));
            Check.Same(pixels, session.Sample(request), "pixels of a session whose model is gone");

            session.Dispose();
            session.Dispose();
            Check.Throws<ObjectDisposedException>(() => session.Sample(request));
            Check.Throws<ObjectDisposedException>(() => session.Sample(request, cancellationToken: new CancellationTokenSource().Token));
            Check.Throws<ObjectDisposedException>(session.SampleAsync(request));
            request.Dispose();
            request.Dispose();
            Check.Throws<ObjectDisposedException>(() => request.SetSeeds(1));
            options.Dispose();
            options.Dispose();
            Check.Throws<ObjectDisposedException>(() => options.SetThreads(1));
            Check.Throws<ObjectDisposedException>(() => Model.OpenDefault(options));
        }

        /// <summary>Everything is disposed while a call is inside it: the call ends as if nothing had happened.</summary>
        public static void DisposeDuringACall()
        {
            byte[] expected = Digits.Draw(4);
            for (int round = 0; round < 50; round++)
            {
                Model model = Digits.Open();
                Session session = model.CreateSession();
                Request request = Digits.Request(4);
                request.SetProgress((phase, done, total) =>
                {
                    if (done == 1)
                        Task.Run(() => { model.Dispose(); session.Dispose(); request.Dispose(); }).Wait();
                    return true;
                });
                Check.Same(expected, session.Sample(request), "pixels");
                Check.Throws<ObjectDisposedException>(() => session.Sample(request));
            }
        }

        public static void ManyThreadsOverOneModel()
        {
            byte[] expected = Digits.Draw(10);
            using (Model model = Digits.Open(new ModelOptions().SetThreads(1)))
            using (var options = new ModelOptions().SetThreads(1))
                Parallel(8, thread =>
                {
                    Session session;
                    lock (options) session = model.CreateSession(options);
                    using (session)
                        for (int i = 0; i < 40; i++)
                        {
                            int seed = (thread + i) % 10;
                            using (Request request = new Request().SetSeeds((ulong)seed).SetLabels(seed))
                                Check.Same(expected.AsSpan(seed * Digits.Image * 4, Digits.Image * 4), session.Sample(request), "seed " + seed);
                        }
                });
        }

        /// <summary>One session and one request for all: each call is done, or told Busy, and never anything else.</summary>
        public static void ThreadsThatShareASession()
        {
            byte[] expected = Digits.Draw(1);
            int done = 0;
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request shared = Digits.Request(1))
                Parallel(6, thread =>
                {
                    using (Request own = Digits.Request(1))
                        for (int i = 0; i < 200; i++)
                        {
                            try
                            {
                                Check.Same(expected, session.Sample(thread % 2 == 0 ? shared : own), "pixels");
                                Interlocked.Increment(ref done);
                            }
                            catch (OneStepException e) when (e.Code == Status.Busy)
                            {
                            }
                        }
                });
            Check.True(done > 0, "some were done");
            Console.WriteLine("        {0} of 1200 done, the others busy", done);
        }

        /// <summary>Handles that nobody disposes, and a collector that never rests: what a handle too few kept alive, or a
        /// delegate that was collected, would crash.</summary>
        public static void CollectingAllTheTime()
        {
            byte[] expected = Digits.Draw(2);
            bool over = false;
            var collector = new Thread(() =>
            {
                while (!Volatile.Read(ref over))
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                }
            });
            collector.Start();
            try
            {
                Parallel(4, thread =>
                {
                    for (int i = 0; i < 30; i++)
                    {
                        var source = new CancellationTokenSource();
                        int heard = 0;
                        byte[] pixels = Digits.Open(new ModelOptions().SetThreads(1)).CreateSession(new ModelOptions().SetThreads(1))
                            .Sample(Digits.Request(2).SetProgress((phase, done, total) => ++heard > 0), cancellationToken: source.Token);
                        Check.Same(expected, pixels, "pixels");
                        Check.True(heard > 3, "progress was heard");
                    }
                });
            }
            finally
            {
                Volatile.Write(ref over, true);
                collector.Join();
            }
        }

        public static void TenThousandDrawsLeaveNothing()
        {
            bool mono = Type.GetType("Mono.Runtime") != null;
            int draws = mono ? 2000 : 10000; // The library is the same: mono's part of it shows sooner.
            using (Model model = Digits.Open(new ModelOptions().SetThreads(1)))
            using (Session session = model.CreateSession(new ModelOptions().SetThreads(1)))
            using (Request request = Digits.Request(1))
            {
                var pixels = new byte[Digits.Image * 4];
                Action<int, CancellationToken> draw = (n, token) =>
                {
                    for (int i = 0; i < n; i++) session.SampleInto(request, PixelFormat.Rgba8, pixels, token);
                };
                draw(500, CancellationToken.None);
                long before = Resident(), allocated = Allocated();
                draw(draws, CancellationToken.None);
                allocated = Allocated() - allocated;
                long plain = Resident() - before;
                using (var source = new CancellationTokenSource()) draw(2000, source.Token);
                long cancellable = Resident() - before;
                Console.WriteLine("        {0} draws: {1} KiB resident, {2} bytes of garbage; 2000 more with a token: {3} KiB",
                    draws, plain >> 10, allocated, cancellable >> 10);
                Check.True(plain < 1 << 19 && cancellable < 1 << 20, "memory is flat");
                Check.True(allocated < draws, "a call allocates nothing managed");
            }
        }

        public static void OpeningAndClosingLeavesNothing()
        {
            Action<int> open = n =>
            {
                for (int i = 0; i < n; i++)
                    using (var options = new ModelOptions().SetThreads(1))
                    using (Model model = Digits.Open(options))
                    using (Session session = model.CreateSession(options))
                    using (Request request = Digits.Request(1)) session.Sample(request);
            };
            open(60);
            long before = Resident();
            open(120);
            long grown = Resident() - before;
            Console.WriteLine("        120 models: {0} KiB resident", grown >> 10);
            Check.True(grown < 12 << 20, "120 models of 4 MiB and more leave less than three");
        }

        private static void Parallel(int threads, Action<int> act)
        {
            var thrown = new List<Exception>();
            List<Thread> all = Enumerable.Range(0, threads).Select(i => new Thread(() =>
            {
                try
                {
                    act(i);
                }
                catch (Exception e)
                {
                    lock (thrown) thrown.Add(e);
                }
            })).ToList();
            all.ForEach(thread => thread.Start());
            all.ForEach(thread => thread.Join());
            if (thrown.Count != 0) throw new AggregateException(thrown);
        }

        private static long Resident()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            using (Process process = Process.GetCurrentProcess()) return process.WorkingSet64;
        }

        /// <summary>Bytes of managed memory that this thread asked for; 0 where the runtime does not count them.</summary>
        private static long Allocated()
        {
            MethodInfo counter = typeof(GC).GetMethod("GetAllocatedBytesForCurrentThread");
            return counter == null ? 0 : (long)counter.Invoke(null, null);
        }
    }
}
