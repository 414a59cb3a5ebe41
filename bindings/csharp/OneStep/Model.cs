using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace OneStep
{
    /// <summary>Weights, immutable: any number of threads and sessions may use one at a time. Sessions made from it stay
    /// usable when it is disposed.</summary>
    public sealed unsafe class Model : IDisposable
    {
        private readonly ModelHandle handle;

        private Model(IntPtr raw)
        {
            handle = new ModelHandle(raw);
            var info = new NativeModelInfo { StructSize = (uint)sizeof(NativeModelInfo) };
            NativeError error;
            NativeError.Check(Native.onestep_model_get_info(handle, &info, &error), &error);
            Info = new ModelInfo(&info);
        }

        /// <summary>What the model is.</summary>
        public ModelInfo Info { get; }

        /// <summary>Opens the student inside the library: portraits in pixels, 16 x 16, RGBA, eight classes.</summary>
        public static Model OpenDefault(ModelOptions options = null, CancellationToken cancellationToken = default(CancellationToken))
        {
            Library.Check();
            return new Model(ModelOptions.Make(options, cancellationToken, Native.onestep_model_open_default));
        }

        /// <summary>Opens a file in onestep's own format, or a diffusers folder.</summary>
        public static Model Open(string path, ModelOptions options = null, CancellationToken cancellationToken = default(CancellationToken))
        {
            Library.Check();
            byte[] text = Utf8.Bytes(path, nameof(path));
            return new Model(ModelOptions.Make(options, cancellationToken, (with, made, error) =>
            {
                fixed (byte* utf8 = text) return Native.onestep_model_open_file(utf8, with, made, error);
            }));
        }

        /// <summary>Opens the bytes of a file in onestep's own format. They are needed during the call alone, and not
        /// copied.</summary>
        public static Model Open(ReadOnlySpan<byte> file, ModelOptions options = null, CancellationToken cancellationToken = default(CancellationToken))
        {
            Library.Check();
            fixed (byte* data = &MemoryMarshal.GetReference(file))
            {
                var start = (IntPtr)data;
                var size = (UIntPtr)file.Length;
                return new Model(ModelOptions.Make(options, cancellationToken, (with, made, error) =>
                    Native.onestep_model_open_borrowed((void*)start, size, IntPtr.Zero, IntPtr.Zero, with, made, error)));
            }
        }

        /// <summary>A session on this model. Of the options it takes threads and progress.</summary>
        public Session CreateSession(ModelOptions options = null)
        {
            IntPtr raw = ModelOptions.Make(options, CancellationToken.None, (with, made, error) =>
                Native.onestep_session_new(handle, with, made, error));
            return new Session(new SessionHandle(raw), Info, ModelOptions.ProgressOf(options));
        }

        /// <summary>All that is known of the model, as one JSON object: what <c>onestep info --json</c> prints, but for its name
        /// and memory. It has, beside what <see cref="Info"/> has, the kind of generator, the prediction, the schedule, where the
        /// weights come from, and notes of what was assumed or left out. Keys are added, and none is taken away.</summary>
        public string InfoJson()
        {
            NativeError error;
            UIntPtr needed;
            NativeError.Check(Native.onestep_model_info_json(handle, null, UIntPtr.Zero, &needed, &error), &error);
            var text = new byte[checked((int)needed.ToUInt32())];
            fixed (byte* to = text)
            {
                NativeError.Check(Native.onestep_model_info_json(handle, to, needed, &needed, &error), &error);
                return Utf8.Text(to);
            }
        }

        /// <summary>What calls of <paramref name="batch"/> images take.</summary>
        public MemoryEstimate EstimateMemory(int batch)
        {
            var memory = new NativeMemory { StructSize = (uint)sizeof(NativeMemory) };
            NativeError error;
            NativeError.Check(Native.onestep_model_estimate_memory(handle, (uint)batch, &memory, &error), &error);
            return new MemoryEstimate(memory);
        }

        /// <summary>Bytes that <see cref="Session.SampleInto(Request, Layout, Span{byte}, CancellationToken)"/> writes for
        /// <paramref name="batch"/> images, from the first to the last; checks the layout.</summary>
        public long OutputSize(int batch, Layout layout)
        {
            NativeLayout native = layout.Native();
            NativeError error;
            ulong bytes = 0;
            NativeError.Check(Native.onestep_output_size(handle, (uint)batch, &native, &bytes, &error), &error);
            return (long)bytes;
        }

        /// <summary>x_T of each seed, (n, c, h, w), the same bits on every machine: what sampling starts from.</summary>
        public float[] Noise(params ulong[] seeds)
        {
            var noise = new float[checked(seeds.Length * Info.ImageFloats)];
            NoiseInto(seeds, noise);
            return noise;
        }

        /// <summary>The same, into the caller's memory.</summary>
        public void NoiseInto(ReadOnlySpan<ulong> seeds, Span<float> noise)
        {
            fixed (ulong* from = &MemoryMarshal.GetReference(seeds))
            fixed (float* to = &MemoryMarshal.GetReference(noise))
            {
                NativeError error;
                NativeError.Check(
                    Native.onestep_noise_fill(handle, from, (UIntPtr)seeds.Length, to, (UIntPtr)noise.Length, &error), &error);
            }
        }

        /// <summary>Frees the model. Can be called any number of times, and from any thread.</summary>
        public void Dispose() { handle.Dispose(); }
    }
}
