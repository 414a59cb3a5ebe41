using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;

namespace OneStep.Tests
{
    /// <summary>Cancellation, progress, and tasks.</summary>
    internal static class CancelTests
    {
        private static void WithTeacher(Action<Session, Request> act)
        {
            using (Model model = Model.Open(Digits.TeacherPath))
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(1).SetDdim(1000))
                act(session, request);
        }

        public static void BeforeTheCall()
        {
            var source = new CancellationTokenSource();
            source.Cancel();
            WithTeacher((session, request) =>
            {
                OperationCanceledException thrown =
                    Check.Throws<OperationCanceledException>(() => session.Sample(request, cancellationToken: source.Token));
                Check.Equal(source.Token, thrown.CancellationToken, "the token");
            });
            Check.Throws<OperationCanceledException>(() => Model.OpenDefault(null, source.Token));
            Check.Throws<OperationCanceledException>(() => Model.OpenDefault(new ModelOptions(), source.Token));
        }

        public static void DuringTheCallAndTheSessionGoesOn()
        {
            WithTeacher((session, request) =>
            {
                var clock = Stopwatch.StartNew();
                var source = new CancellationTokenSource(50);
                OperationCanceledException thrown =
                    Check.Throws<OperationCanceledException>(() => session.Sample(request, cancellationToken: source.Token));
                Check.Equal(source.Token, thrown.CancellationToken, "the token");
                Check.Equal(Status.Cancelled, ((OneStepException)thrown.InnerException).Code, "what the library told");
                long cancelled = clock.ElapsedMilliseconds;
                request.SetDdim(2);
                Check.Same(session.Sample(request), session.Sample(request), "images after a cancelled one");
                Console.WriteLine("        cancelled 50 ms into 1000 steps, back after {0} ms", cancelled);
            });
        }

        /// <summary>The token is triggered while the call ends, over and over: a race that a token freed too early
        /// loses.</summary>
        public static void AtTheVeryEnd()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(1))
            {
                session.Sample(request);
                var clock = Stopwatch.StartNew();
                for (int i = 0; i < 20; i++) session.Sample(request);
                double call = clock.Elapsed.TotalMilliseconds / 20;
                int cancelled = 0, done = 0;
                for (int i = 0; i < 150; i++)
                {
                    var source = new CancellationTokenSource();
                    Task trigger = Task.Run(() =>
                    {
                        var wait = Stopwatch.StartNew();
                        while (wait.Elapsed.TotalMilliseconds < call * (i % 50) / 35) Thread.SpinWait(20);
                        source.Cancel();
                    });
                    try
                    {
                        session.Sample(request, cancellationToken: source.Token);
                        done++;
                    }
                    catch (OperationCanceledException)
                    {
                        cancelled++;
                    }
                    trigger.Wait();
                }
                Check.Equal(150, cancelled + done, "calls");
                Console.WriteLine("        {0} cancelled, {1} done", cancelled, done);
            }
        }

        public static void Tasks()
        {
            byte[] expected = Digits.Draw(3);
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(3))
            {
                Check.Same(expected, session.SampleAsync(request).GetAwaiter().GetResult(), "pixels of a task");
                var pixels = new byte[expected.Length];
                session.SampleIntoAsync(request, PixelFormat.Rgba8, pixels).Wait();
                Check.Same(expected, pixels, "pixels in the caller's memory");
                Check.Throws<OneStepException>(session.SampleIntoAsync(request, PixelFormat.Rgba8, new byte[3]));
                Check.Throws<ArgumentNullException>(session.SampleAsync(null));
            }
            WithTeacher((session, request) =>
            {
                var source = new CancellationTokenSource();
                Task<byte[]> task = session.SampleAsync(request, cancellationToken: source.Token);
                Check.Fails(Status.Busy, "this request", () => request.SetDdim(2));
                source.CancelAfter(30);
                Check.Throws<OperationCanceledException>(task);
                Check.True(task.IsCanceled, "the task is cancelled, not faulted");
                request.SetDdim(2);
            });
        }

        public static void Progress()
        {
            var heard = new List<uint>();
            int thread = Thread.CurrentThread.ManagedThreadId;
            uint last = 0;
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(1))
            {
                request.SetProgress((phase, done, total) =>
                {
                    Check.Equal(Phase.Sample, phase, "the phase");
                    Check.Equal(thread, Thread.CurrentThread.ManagedThreadId, "the thread");
                    heard.Add(done);
                    last = total;
                    return true;
                });
                byte[] pixels = session.Sample(request);
                Check.True(heard.Count > 3 && heard[heard.Count - 1] == last, heard.Count + " blocks, the last of " + last);
                for (int i = 1; i < heard.Count; i++) Check.True(heard[i] >= heard[i - 1], "ascending");

                request.SetProgress((phase, done, total) => done < total / 2);
                Check.Fails(Status.Cancelled, "", () => session.Sample(request));
                int count = heard.Count;
                request.SetProgress(null);
                Check.Same(pixels, session.Sample(request), "pixels after a cancelled call");
                Check.Equal(count, heard.Count, "calls of a handler that was taken away");
            }
        }

        public static void ProgressOfOptions()
        {
            var phases = new HashSet<Phase>();
            using (var options = new ModelOptions().SetProgress((phase, done, total) => phases.Add(phase) | true))
            using (Model model = Model.Open(Digits.StudentPath, options))
            {
                Check.True(phases.Contains(Phase.Prepare), "opening was heard of");
                using (Session session = model.CreateSession(options))
                using (Request request = Digits.Request(1))
                {
                    options.SetProgress(null); // The session has its own.
                    session.Sample(request);
                    Check.True(phases.Contains(Phase.Sample), "sampling was heard of");
                }
                options.SetProgress((phase, done, total) => { throw new InvalidOperationException("from opening"); });
                Check.Equal("from opening", Check.Throws<InvalidOperationException>(() => Digits.Open(options)).Message, "what was thrown");
            }
        }

        public static void AHandlerThatThrows()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Session other = model.CreateSession())
            using (Request request = Digits.Request(1), second = Digits.Request(1))
            {
                byte[] expected = session.Sample(request);
                for (int i = 0; i < 100; i++)
                {
                    request.SetProgress((phase, done, total) =>
                    {
                        if (done == 3) throw new InvalidOperationException("at 3");
                        return true;
                    });
                    InvalidOperationException thrown = Check.Throws<InvalidOperationException>(() => session.Sample(request));
                    Check.Equal("at 3", thrown.Message, "what was thrown");
                    Check.True(thrown.StackTrace.Contains("AHandlerThatThrows"), "the trace leads to the handler");
                }
                // In the session that is calling: Busy. In another: it works, and the outer call goes on being heard.
                int heard = 0;
                request.SetProgress((phase, done, total) =>
                {
                    if (done == 2)
                    {
                        Check.Fails(Status.Busy, "", () => session.Sample(second));
                        Check.Fails(Status.Busy, "this request", () => request.SetSeeds(1));
                        second.SetProgress((p, d, t) => d < 2);
                        Check.Fails(Status.Cancelled, "", () => other.Sample(second));
                    }
                    heard++;
                    return true;
                });
                Check.Same(expected, session.Sample(request), "pixels");
                Check.True(heard > 5, "heard after the inner call");
            }
        }
    }
}
