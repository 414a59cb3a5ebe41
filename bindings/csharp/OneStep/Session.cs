using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace OneStep
{
    /// <summary>One caller's scratch memory and threads. One call at a time: a second one gets Busy. Sessions of one model
    /// run side by side. Its first calls of a batch size plan and allocate, unless <see cref="Prepare"/> came before; later ones
    /// do not.</summary>
    public sealed unsafe partial class Session : IDisposable
    {
        private readonly SessionHandle handle;
        private readonly ModelInfo info;
        private readonly ProgressHandler progress;

        internal Session(SessionHandle handle, ModelInfo info, ProgressHandler progress)
        {
            this.handle = handle;
            this.info = info;
            this.progress = progress;
        }

        /// <summary>Gets ready for calls of <paramref name="batch"/> images, of several sizes the largest first: the next one
        /// plans and allocates nothing in the library, and takes its usual time. Blocks.</summary>
        /// <exception cref="OneStepException">No images, or more than the model's limit; or what could not be done.</exception>
        public void Prepare(int batch)
        {
            if (batch < 1)
                throw new OneStepException(Status.InvalidArgument, "batch: " + batch + " images, expected 1 or more");
            NativeError error;
            int code;
            Call call = Call.Begin(progress, CancellationToken.None);
            try
            {
                code = Native.onestep_session_prepare(handle, (uint)batch, &error);
            }
            finally
            {
                call.End();
            }
            call.Check(code, &error);
        }

        /// <summary>Draws a batch into memory of its own, one tight image behind the other. Blocks.</summary>
        /// <exception cref="OneStepException">What the library refused or could not do.</exception>
        /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
        public byte[] Sample(Request request, PixelFormat format = PixelFormat.Rgba8, LayoutFlags flags = LayoutFlags.None,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (Request.Enter(request)) return SampleEntered(request, new Layout(format, flags), cancellationToken);
        }

        /// <summary>Draws a batch straight into the caller's memory, which takes <see cref="Model.OutputSize"/> bytes.
        /// Blocks. After a cancellation its content is unspecified.</summary>
        /// <exception cref="OneStepException">What the library refused or could not do.</exception>
        /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
        public void SampleInto(Request request, Layout layout, Span<byte> pixels, CancellationToken cancellationToken = default(CancellationToken))
        {
            using (Request.Enter(request))
            fixed (byte* to = &MemoryMarshal.GetReference(pixels))
                SampleEntered(request, layout, to, (UIntPtr)pixels.Length, cancellationToken);
        }

        /// <summary>The same for memory that is not a Span: a NativeArray's pointer, or a mapped buffer. It must stay where
        /// it is until the call returns.</summary>
        public void SampleInto(Request request, Layout layout, IntPtr pixels, long size, CancellationToken cancellationToken = default(CancellationToken))
        {
            using (Request.Enter(request))
                SampleEntered(request, layout, (void*)pixels, (UIntPtr)checked((ulong)size), cancellationToken);
        }

        /// <summary>The bare network's prediction for images <paramref name="x"/> (n, c, h, w), one timestep an image, and
        /// one label an image for conditional models. <paramref name="prediction"/> takes as many floats as x.</summary>
        public void Predict(ReadOnlySpan<float> x, ReadOnlySpan<int> timesteps, ReadOnlySpan<int> labels, Span<float> prediction)
        {
            fixed (int* at = &MemoryMarshal.GetReference(timesteps))
                Network(x, at, null, timesteps.Length, labels, prediction);
        }

        /// <summary><see cref="Predict"/> at any finite times, whole or not: what the network itself is told of an image's
        /// noise level.</summary>
        public void PredictAt(ReadOnlySpan<float> x, ReadOnlySpan<float> times, ReadOnlySpan<int> labels, Span<float> prediction)
        {
            fixed (float* at = &MemoryMarshal.GetReference(times))
                Network(x, null, at, times.Length, labels, prediction);
        }

        private void Network(ReadOnlySpan<float> x, int* timesteps, float* times, int n, ReadOnlySpan<int> labels, Span<float> prediction)
        {
            long expected = (long)n * info.ImageFloats;
            if (x.Length != expected)
                throw new OneStepException(Status.InvalidArgument, "predict: x has " + x.Length + " floats, expected " + expected);
            if (labels.Length != 0 && labels.Length != n)
                throw new OneStepException(Status.InvalidArgument, "predict: " + labels.Length + " labels, expected " + n);
            NativeError error;
            int code;
            Call call = Call.Begin(progress, CancellationToken.None);
            try
            {
                fixed (float* from = &MemoryMarshal.GetReference(x))
                fixed (int* of = &MemoryMarshal.GetReference(labels))
                fixed (float* to = &MemoryMarshal.GetReference(prediction))
                {
                    int* label = labels.Length == 0 ? null : of;
                    code = times != null
                        ? Native.onestep_session_predict_at(handle, from, times, label, (UIntPtr)n, to, (UIntPtr)prediction.Length, &error)
                        : Native.onestep_session_predict(handle, from, timesteps, label, (UIntPtr)n, to, (UIntPtr)prediction.Length, &error);
                }
            }
            finally
            {
                call.End();
            }
            call.Check(code, &error);
        }

        /// <summary>Frees the session and ends its threads; a call that is running ends first. Can be called any number of
        /// times, and from any thread.</summary>
        public void Dispose() { handle.Dispose(); }

        private byte[] SampleEntered(Request request, Layout layout, CancellationToken token)
        {
            int pixel = layout.Format == PixelFormat.Rgb8 ? 3 : layout.Format >= PixelFormat.Rgba8 ? 4 : 4 * info.Channels;
            var pixels = new byte[checked(request.Batch(info.ImageFloats) * info.Width * info.Height * pixel)];
            SampleEntered(request, layout, pixels, token);
            return pixels;
        }

        private void SampleEntered(Request request, Layout layout, Span<byte> pixels, CancellationToken token)
        {
            fixed (byte* to = &MemoryMarshal.GetReference(pixels))
                SampleEntered(request, layout, to, (UIntPtr)pixels.Length, token);
        }

        private void SampleEntered(Request request, Layout layout, void* pixels, UIntPtr size, CancellationToken token)
        {
            NativeLayout native = layout.Native();
            NativeError error;
            int code;
            Call call = Call.Begin(request.Progress ?? progress, token);
            try
            {
                if (call.Cancel != null)
                    NativeError.Check(Native.onestep_request_set_cancel(request.Handle, call.Cancel, &error), &error);
                code = Native.onestep_session_sample(handle, request.Handle, &native, pixels, size, &error);
            }
            finally
            {
                if (call.Cancel != null) Native.onestep_request_set_cancel(request.Handle, CancelHandle.None, null);
                call.End();
            }
            call.Check(code, &error);
        }
    }
}
