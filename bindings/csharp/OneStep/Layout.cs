namespace OneStep
{
    /// <summary>How pixels lie in the caller's memory. A format alone is a tight batch, top row first.</summary>
    public struct Layout
    {
        /// <summary>A tight batch.</summary>
        public Layout(PixelFormat format, LayoutFlags flags = LayoutFlags.None)
        {
            Format = format;
            Flags = flags;
            RowStride = 0;
            PlaneStride = 0;
            ImageStride = 0;
        }

        /// <summary>How a pixel is stored.</summary>
        public PixelFormat Format { get; set; }
        /// <summary>Upside down, floats in [0, 1], colours times alpha.</summary>
        public LayoutFlags Flags { get; set; }
        /// <summary>Bytes from one row to the next; 0 is tight.</summary>
        public long RowStride { get; set; }
        /// <summary>Bytes from one channel plane to the next (F32Nchw alone); 0 is tight.</summary>
        public long PlaneStride { get; set; }
        /// <summary>Bytes from one image to the next; 0 is tight.</summary>
        public long ImageStride { get; set; }

        /// <summary>A tight batch of this format.</summary>
        public static implicit operator Layout(PixelFormat format) { return new Layout(format); }

        internal unsafe NativeLayout Native()
        {
            return new NativeLayout
            {
                StructSize = (uint)sizeof(NativeLayout),
                Format = (int)Format,
                Flags = (uint)Flags,
                RowStride = (ulong)RowStride,
                PlaneStride = (ulong)PlaneStride,
                ImageStride = (ulong)ImageStride,
            };
        }
    }
}
