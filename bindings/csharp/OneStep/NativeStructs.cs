using System.Runtime.InteropServices;

namespace OneStep
{
    // The header's structs, field by field. All are blittable: the library writes straight into them.

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct NativeError
    {
        public int Code;
        public int NativeCode;
        public fixed byte Message[504];

        /// <summary>Throws what the call told, if it failed.</summary>
        public static void Check(int code, NativeError* error)
        {
            if (code != 0) throw Exception(error);
        }

        public static OneStepException Exception(NativeError* error)
        {
            return new OneStepException((Status)error->Code, Utf8.Text(error->Message), error->NativeCode);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct NativeLayout
    {
        public uint StructSize;
        public int Format;
        public uint Flags;
        public uint Reserved;
        public ulong RowStride;
        public ulong PlaneStride;
        public ulong ImageStride;
        public ulong Columns;
        public ulong ColumnStride;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct NativeModelInfo
    {
        public uint StructSize;
        public int Role;
        public int Width;
        public int Height;
        public int Channels;
        public int NumClasses;
        public int TrainTimesteps;
        public int DefaultSteps;
        public ulong Parameters;
        public ulong WeightBytes;
        public fixed byte Arch[32];
        public fixed byte Device[32];
        public int Precision;
        public int Reserved;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct NativeMemory
    {
        public uint StructSize;
        public uint Reserved;
        public ulong Weights;
        public ulong Scratch;
        public ulong HostPeak;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal unsafe struct NativeDeviceInfo
    {
        public uint StructSize;
        public int Kind;
        public int Index;
        public uint Flags;
        public ulong MemoryTotal;
        public ulong MemoryFree;
        public fixed byte Id[32];
        public fixed byte Name[128];
    }
}
