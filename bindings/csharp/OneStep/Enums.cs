using System;

namespace OneStep
{
    /// <summary>What went wrong, as a kind. The values never change.</summary>
    public enum Status
    {
        /// <summary>Success.</summary>
        Ok = 0,
        /// <summary>An argument, option or request that makes no sense; nothing was done.</summary>
        InvalidArgument = 1,
        /// <summary>The caller's buffer is too small; nothing was written.</summary>
        BufferTooSmall = 2,
        /// <summary>The operating system refused to read; its number is the native code.</summary>
        Io = 3,
        /// <summary>A model file that is damaged, incomplete or contradicts itself.</summary>
        BadModel = 4,
        /// <summary>A sound model of a kind that the library does not run; the message names the key.</summary>
        UnsupportedModel = 5,
        /// <summary>The device asked for is not on this machine.</summary>
        DeviceUnavailable = 6,
        /// <summary>The device gave an error while working.</summary>
        DeviceFailed = 7,
        /// <summary>Memory could not be had.</summary>
        OutOfMemory = 8,
        /// <summary>A progress handler said so. A cancelled token gives an OperationCanceledException instead.</summary>
        Cancelled = 9,
        /// <summary>Another call is inside this session, request or these options.</summary>
        Busy = 10,
        /// <summary>The library was built without the part asked for.</summary>
        NotBuilt = 11,
        /// <summary>The library's interface is not the one that this package was written for.</summary>
        AbiMismatch = 12,
        /// <summary>A bug in the library, caught at its edge.</summary>
        Panic = 13,
        /// <summary>A session on which an earlier call panicked; dispose it and make another.</summary>
        Poisoned = 14,
        /// <summary>A broken promise inside the library, found before it did harm.</summary>
        Internal = 15,
    }

    /// <summary>How a pixel is stored.</summary>
    public enum PixelFormat
    {
        /// <summary>32-bit floats, (n, c, h, w).</summary>
        F32Nchw = 0,
        /// <summary>32-bit floats, (n, h, w, c).</summary>
        F32Nhwc = 1,
        /// <summary>8 bits a channel; models of one channel are written as grey.</summary>
        Rgb8 = 2,
        /// <summary>8 bits a channel; alpha is 255 unless the model has four channels.</summary>
        Rgba8 = 3,
        /// <summary>As Rgba8, blue first.</summary>
        Bgra8 = 4,
    }

    /// <summary>How pixels lie, beside their format.</summary>
    [Flags]
    public enum LayoutFlags
    {
        /// <summary>Top row first; floats as the network gave them, in [-1, 1] but for outliers.</summary>
        None = 0,
        /// <summary>Bottom row first, as textures of OpenGL and Unity are.</summary>
        FlipY = 1,
        /// <summary>Floats in [0, 1], not clamped. 8-bit formats ignore it.</summary>
        F32UnitRange = 2,
        /// <summary>Colours times alpha, for who blends so. RGBA8 and BGRA8 alone; other formats ignore it.</summary>
        Premultiplied = 4,
    }

    /// <summary>What a model is used as.</summary>
    public enum Role
    {
        /// <summary>The role that the file names, else teacher.</summary>
        Auto = 0,
        /// <summary>Draws in several network calls.</summary>
        Teacher = 1,
        /// <summary>Draws in one network call.</summary>
        Student = 2,
    }

    /// <summary>The arithmetic.</summary>
    public enum Precision
    {
        /// <summary>The device's default; f32 on the CPU, bf16 on CUDA.</summary>
        Auto = 0,
        /// <summary>32-bit floats throughout.</summary>
        F32 = 1,
        /// <summary>Weights rounded to bfloat16; sums and activations stay f32.</summary>
        Bf16 = 2,
        /// <summary>Half-precision operands; no device has them yet.</summary>
        F16 = 3,
    }

    /// <summary>How a teacher samples.</summary>
    public enum Sampler
    {
        /// <summary>Deterministic where eta is 0 (Song et al. 2021).</summary>
        Ddim = 0,
        /// <summary>Ancestral (Ho et al. 2020).</summary>
        Ddpm = 1,
        /// <summary>A consistency model's own, of one step or of several (Song et al. 2023).</summary>
        Consistency = 2,
        /// <summary>EDM's, by Euler's method (Karras et al. 2022).</summary>
        Euler = 3,
        /// <summary>EDM's, by Heun's method: two network calls a step, but for the last.</summary>
        Heun = 4,
    }

    /// <summary>Which of its T timesteps a teacher visits in K steps.</summary>
    public enum Spacing
    {
        /// <summary>As the model's file says.</summary>
        File = 0,
        /// <summary>i (T / K) + offset</summary>
        Leading = 1,
        /// <summary>round(T - i T / K) - 1</summary>
        Trailing = 2,
        /// <summary>floor(linspace(0, sqrt(0.8 T), K)^2), the paper's</summary>
        Quadratic = 3,
        /// <summary>round(linspace(0, T - 1, K))</summary>
        Linspace = 4,
    }

    /// <summary>What a progress handler hears of.</summary>
    public enum Phase
    {
        /// <summary>Reading a file.</summary>
        Open = 0,
        /// <summary>Packing weights; counted in tensors.</summary>
        Prepare = 1,
        /// <summary>Sampling; counted in network blocks, all steps together.</summary>
        Sample = 2,
        /// <summary>Writing a file.</summary>
        Write = 3,
    }

    /// <summary>How to go from one noise to another.</summary>
    public enum Interpolation
    {
        /// <summary>(1 - t) a + t b</summary>
        Lerp = 0,
        /// <summary>Along the great circle: what keeps noise noise.</summary>
        Slerp = 1,
    }

    /// <summary>How important a log line is; the lowest is the most important.</summary>
    public enum LogLevel
    {
        /// <summary>Failures, which the call's exception tells as well.</summary>
        Error = 1,
        /// <summary>The result may not be what was wanted.</summary>
        Warn = 2,
        /// <summary>What was chosen.</summary>
        Info = 3,
        /// <summary>What was done.</summary>
        Debug = 4,
    }

    /// <summary>Kinds of devices.</summary>
    public enum DeviceKind
    {
        /// <summary>The processor.</summary>
        Cpu = 0,
        /// <summary>An NVIDIA GPU.</summary>
        Cuda = 1,
        /// <summary>An Apple GPU.</summary>
        Metal = 2,
    }
}
