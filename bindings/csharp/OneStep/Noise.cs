using System;
using System.Runtime.InteropServices;

namespace OneStep
{
    /// <summary>Arithmetic on noise, for <see cref="Request.SetNoise"/>.</summary>
    public static unsafe class Noise
    {
        /// <summary>Vectors between <paramref name="a"/> and <paramref name="b"/>, one behind the other, for each value of
        /// <paramref name="t"/>: 0 gives a, 1 gives b. Slerp turns over the whole vector.</summary>
        public static float[] Interpolate(Interpolation mode, ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> t)
        {
            var between = new float[checked(a.Length * t.Length)];
            InterpolateInto(mode, a, b, t, between);
            return between;
        }

        /// <summary>The same, into the caller's memory.</summary>
        public static void InterpolateInto(Interpolation mode, ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> t, Span<float> between)
        {
            Library.Check();
            if (a.Length != b.Length)
                throw new OneStepException(Status.InvalidArgument, "interpolate: a has " + a.Length + " floats, b has " + b.Length);
            fixed (float* first = &MemoryMarshal.GetReference(a))
            fixed (float* second = &MemoryMarshal.GetReference(b))
            fixed (float* at = &MemoryMarshal.GetReference(t))
            fixed (float* to = &MemoryMarshal.GetReference(between))
            {
                NativeError error;
                NativeError.Check(Native.onestep_noise_interpolate((int)mode, first, second, (UIntPtr)a.Length, at,
                    (UIntPtr)t.Length, to, (UIntPtr)between.Length, &error), &error);
            }
        }
    }
}
