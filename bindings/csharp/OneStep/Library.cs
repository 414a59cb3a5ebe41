using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace OneStep
{
    /// <summary>The native library itself.</summary>
    public static unsafe class Library
    {
        /// <summary>The version of the library's interface that this package was written for.</summary>
        public const uint AbiVersion = 1;

        private static readonly NativeLog say = Say;
        private static readonly IntPtr function = Marshal.GetFunctionPointerForDelegate(say);
        private static volatile bool known;
        private static volatile Action<LogLevel, string> log;

        /// <summary>The library's version, as "0.1.0".</summary>
        public static string Version
        {
            get { Check(); return Utf8.Text(Native.onestep_version()); }
        }

        /// <summary>One line for bug reports: version, target, features, instruction set in use.</summary>
        public static string BuildInfo
        {
            get { Check(); return Utf8.Text(Native.onestep_build_info()); }
        }

        /// <summary>The devices of this machine that this build can use; the CPU is always one of them.</summary>
        public static IReadOnlyList<Device> Devices()
        {
            Check();
            NativeError error;
            uint count = 0;
            NativeError.Check(Native.onestep_device_count(&count, &error), &error);
            var devices = new Device[count];
            for (uint i = 0; i < count; i++)
            {
                var info = new NativeDeviceInfo { StructSize = (uint)sizeof(NativeDeviceInfo) };
                NativeError.Check(Native.onestep_device_get(i, &info, &error), &error);
                devices[i] = new Device(&info);
            }
            return devices;
        }

        /// <summary>Hands everything at least as important as <paramref name="level"/> to <paramref name="handler"/>, on
        /// the thread that says it; null ends that. One handler a process. Returns once no call of the old one is in
        /// flight. What the handler throws is dropped: there is nobody to catch it.</summary>
        public static void SetLog(Action<LogLevel, string> handler, LogLevel level = LogLevel.Warn)
        {
            Check();
            if (handler == null)
            {
                Native.onestep_set_log(IntPtr.Zero, IntPtr.Zero, 0);
                log = null;
                return;
            }
            log = handler;
            Native.onestep_set_log(function, IntPtr.Zero, (int)level);
        }

        /// <summary>Before anything else that the library is asked for: a library of another interface could do
        /// anything.</summary>
        internal static void Check()
        {
            if (known) return;
            uint found = Native.onestep_abi_version();
            if (found != AbiVersion)
                throw new OneStepException(Status.AbiMismatch, "the library's interface is version " + found +
                    ", this package was written for version " + AbiVersion);
            known = true;
        }

        [MonoPInvokeCallback(typeof(NativeLog))]
        private static void Say(IntPtr user, int level, IntPtr utf8, UIntPtr length)
        {
            try
            {
                log?.Invoke((LogLevel)level, Utf8.Text((byte*)utf8));
            }
            catch (Exception)
            {
            }
        }
    }

    /// <summary>A device of this machine.</summary>
    public sealed class Device
    {
        internal unsafe Device(NativeDeviceInfo* info)
        {
            Kind = (DeviceKind)info->Kind;
            Index = info->Index;
            MemoryTotal = (long)info->MemoryTotal;
            MemoryFree = (long)info->MemoryFree;
            Id = Utf8.Text(info->Id);
            Name = Utf8.Text(info->Name);
        }

        /// <summary>Its kind.</summary>
        public DeviceKind Kind { get; }
        /// <summary>Index within its kind.</summary>
        public int Index { get; }
        /// <summary>Bytes; 0 unknown.</summary>
        public long MemoryTotal { get; }
        /// <summary>Bytes; 0 unknown.</summary>
        public long MemoryFree { get; }
        /// <summary>What <see cref="ModelOptions.SetDevice"/> takes.</summary>
        public string Id { get; }
        /// <summary>The device's own name.</summary>
        public string Name { get; }
    }
}
