using System;
using System.Runtime.InteropServices;

namespace OneStep
{
    /// <summary>What to sample. Setters copy, and may be chained; a request can be used again. One call at a time, of
    /// whichever session: a second one gets Busy.</summary>
    public sealed unsafe class Request : IDisposable
    {
        private readonly Gate gate = new Gate("this request");
        private int seeds;
        private int floats;

        /// <summary>An empty request.</summary>
        public Request()
        {
            Library.Check();
            Handle = new RequestHandle(Native.onestep_request_new());
        }

        internal RequestHandle Handle { get; }
        internal ProgressHandler Progress { get; private set; }

        /// <summary>One seed an image; their number is the batch. Image i depends on seed i alone. None takes them
        /// away.</summary>
        public Request SetSeeds(params ulong[] values) { return SetSeeds(new ReadOnlySpan<ulong>(values)); }

        /// <summary>One seed an image; their number is the batch. Image i depends on seed i alone. None takes them
        /// away.</summary>
        public Request SetSeeds(ReadOnlySpan<ulong> values)
        {
            using (gate.Enter())
            fixed (ulong* data = &MemoryMarshal.GetReference(values))
            {
                NativeError error;
                NativeError.Check(Native.onestep_request_set_seeds(Handle, data, (UIntPtr)values.Length, &error), &error);
                seeds = values.Length;
            }
            return this;
        }

        /// <summary>x_T itself, (n, c, h, w), in place of the seeds' own; seeds of the same batch may stand beside it for
        /// the fresh noise of stochastic samplers. Empty takes it away.</summary>
        public Request SetNoise(ReadOnlySpan<float> nchw)
        {
            using (gate.Enter())
            fixed (float* data = &MemoryMarshal.GetReference(nchw))
            {
                NativeError error;
                NativeError.Check(Native.onestep_request_set_noise(Handle, data, (UIntPtr)nchw.Length, &error), &error);
                floats = nchw.Length;
            }
            return this;
        }

        /// <summary>One label an image, for conditional models. None takes them away.</summary>
        public Request SetLabels(params int[] values) { return SetLabels(new ReadOnlySpan<int>(values)); }

        /// <summary>One label an image, for conditional models. None takes them away.</summary>
        public Request SetLabels(ReadOnlySpan<int> values)
        {
            using (gate.Enter())
            fixed (int* data = &MemoryMarshal.GetReference(values))
            {
                NativeError error;
                NativeError.Check(Native.onestep_request_set_labels(Handle, data, (UIntPtr)values.Length, &error), &error);
            }
            return this;
        }

        /// <summary>DDIM with the file's spacing: <paramref name="steps"/> network calls (0: the model's default), eta 0 to
        /// 1. Teachers only.</summary>
        public Request SetDdim(int steps, float eta = 0) { return SetSampler(Sampler.Ddim, Spacing.File, steps, eta); }

        /// <summary>How a teacher samples, in <paramref name="steps"/> network calls (0: the model's default).</summary>
        public Request SetSampler(Sampler sampler, Spacing spacing, int steps, float eta = 0)
        {
            using (gate.Enter())
            {
                NativeError error;
                NativeError.Check(
                    Native.onestep_request_set_sampler(Handle, (int)sampler, (int)spacing, (uint)steps, eta, &error), &error);
            }
            return this;
        }

        /// <summary>Descending timesteps, in place of a number of steps; keeps the sampler and eta. None takes them
        /// away.</summary>
        public Request SetSchedule(params int[] timesteps) { return SetSchedule(new ReadOnlySpan<int>(timesteps)); }

        /// <summary>Descending timesteps, in place of a number of steps; keeps the sampler and eta. None takes them
        /// away.</summary>
        public Request SetSchedule(ReadOnlySpan<int> timesteps)
        {
            using (gate.Enter())
            fixed (int* data = &MemoryMarshal.GetReference(timesteps))
            {
                NativeError error;
                NativeError.Check(Native.onestep_request_set_schedule(Handle, data, (UIntPtr)timesteps.Length, &error), &error);
            }
            return this;
        }

        /// <summary>Classifier-free guidance, of conditional models that were taught without labels too; 1: none.</summary>
        public Request SetGuidance(float scale)
        {
            using (gate.Enter())
            {
                NativeError error;
                NativeError.Check(Native.onestep_request_set_guidance(Handle, scale, &error), &error);
            }
            return this;
        }

        /// <summary>Progress of the call, in place of the session's; null for none.</summary>
        public Request SetProgress(ProgressHandler handler)
        {
            using (gate.Enter())
            {
                NativeError error;
                IntPtr function = handler == null ? IntPtr.Zero : OneStep.Progress.Function;
                NativeError.Check(Native.onestep_request_set_progress(Handle, function, IntPtr.Zero, &error), &error);
                Progress = handler;
            }
            return this;
        }

        /// <summary>Frees the request. Can be called any number of times, also while it is drawn from.</summary>
        public void Dispose() { Handle.Dispose(); }

        internal static Gate.Held Enter(Request request)
        {
            if (request == null) throw new ArgumentNullException(nameof(request));
            return request.gate.Enter();
        }

        /// <summary>Images that it asks for, of so many floats each.</summary>
        internal int Batch(int image) { return seeds != 0 ? seeds : floats / image; }
    }
}
