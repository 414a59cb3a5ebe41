namespace OneStep
{
    /// <summary>What a model is.</summary>
    public sealed class ModelInfo
    {
        internal unsafe ModelInfo(NativeModelInfo* info)
        {
            Role = (Role)info->Role;
            Width = info->Width;
            Height = info->Height;
            Channels = info->Channels;
            NumClasses = info->NumClasses;
            TrainTimesteps = info->TrainTimesteps;
            DefaultSteps = info->DefaultSteps;
            Parameters = (long)info->Parameters;
            WeightBytes = (long)info->WeightBytes;
            Arch = Utf8.Text(info->Arch);
            Device = Utf8.Text(info->Device);
            Precision = (Precision)info->Precision;
        }

        /// <summary>Teacher or student.</summary>
        public Role Role { get; }
        /// <summary>Pixels.</summary>
        public int Width { get; }
        /// <summary>Pixels.</summary>
        public int Height { get; }
        /// <summary>Channels of an image.</summary>
        public int Channels { get; }
        /// <summary>Labels are 0 to NumClasses - 1; 0: unconditional, takes no labels.</summary>
        public int NumClasses { get; }
        /// <summary>Timesteps are 0 to TrainTimesteps - 1.</summary>
        public int TrainTimesteps { get; }
        /// <summary>Steps where the caller names none; 1 for a student.</summary>
        public int DefaultSteps { get; }
        /// <summary>Parameters of the network.</summary>
        public long Parameters { get; }
        /// <summary>Bytes of the weights in the file.</summary>
        public long WeightBytes { get; }
        /// <summary>"unet2d"</summary>
        public string Arch { get; }
        /// <summary>The device chosen, as "cpu".</summary>
        public string Device { get; }
        /// <summary>The precision chosen; never Auto.</summary>
        public Precision Precision { get; }

        /// <summary>Floats of an image's noise.</summary>
        internal int ImageFloats => Width * Height * Channels;
    }

    /// <summary>What calls take, in bytes.</summary>
    public struct MemoryEstimate
    {
        internal MemoryEstimate(NativeMemory memory)
        {
            Weights = (long)memory.Weights;
            Scratch = (long)memory.Scratch;
            HostPeak = (long)memory.HostPeak;
        }

        /// <summary>Prepared weights, shared by all sessions of the model.</summary>
        public long Weights { get; }
        /// <summary>Scratch of a session; 0 for the reference executor, which does not plan.</summary>
        public long Scratch { get; }
        /// <summary>Both, and what opening needs beside them for a moment.</summary>
        public long HostPeak { get; }
    }
}
