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
            Columns = 0;
            ColumnStride = 0;
        }

        /// <summary>A sheet, as of an atlas: <paramref name="columns"/> images side by side in each of its rows, tight.</summary>
        public static Layout Sheet(PixelFormat format, int columns, LayoutFlags flags = LayoutFlags.None)
        {
            return new Layout(format, flags) { Columns = columns };
        }

        /// <summary>How a pixel is stored.</summary>
        public PixelFormat Format { get; set; }
        /// <summary>Upside down, floats in [0, 1], colours times alpha.</summary>
        public LayoutFlags Flags { get; set; }
        /// <summary>Bytes from one row to the next; 0 is tight.</summary>
        public long RowStride { get; set; }
        /// <summary>Bytes from one channel plane to the next (F32Nchw alone); 0 is tight.</summary>
        public long PlaneStride { get; set; }
        /// <summary>Bytes from one image to the next, on a sheet from one row of images to the next; 0 is tight.</summary>
        public long ImageStride { get; set; }
        /// <summary>Images side by side in each row of a sheet; 0 is no sheet.</summary>
        public long Columns { get; set; }
        /// <summary>Bytes from one image to the next in its row of a sheet; 0 is tight.</summary>
        public long ColumnStride { get; set; }

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
                Columns = (ulong)Columns,
                ColumnStride = (ulong)ColumnStride,
            };
        }
    }
}
