using System;
using System.Runtime.InteropServices;

namespace OneStep
{
    // One class for each kind of handle. The runtime counts a SafeHandle's uses: disposed during a call, it is freed when
    // the call returns; used after that, it throws ObjectDisposedException; forgotten, the finalizer frees it.

    internal abstract class Handle : SafeHandle
    {
        protected Handle(IntPtr handle) : base(IntPtr.Zero, true) { SetHandle(handle); }
        public override bool IsInvalid => handle == IntPtr.Zero;
    }

    internal sealed class ModelHandle : Handle
    {
        public ModelHandle(IntPtr handle) : base(handle) { }
        protected override bool ReleaseHandle() { Native.onestep_model_free(handle); return true; }
    }

    internal sealed class SessionHandle : Handle
    {
        public SessionHandle(IntPtr handle) : base(handle) { }
        protected override bool ReleaseHandle() { Native.onestep_session_free(handle); return true; }
    }

    internal sealed class RequestHandle : Handle
    {
        public RequestHandle(IntPtr handle) : base(handle) { }
        protected override bool ReleaseHandle() { Native.onestep_request_free(handle); return true; }
    }

    internal sealed class OptionsHandle : Handle
    {
        /// <summary>NULL: all defaults.</summary>
        public static readonly OptionsHandle None = new OptionsHandle(IntPtr.Zero);
        public OptionsHandle(IntPtr handle) : base(handle) { }
        protected override bool ReleaseHandle() { Native.onestep_options_free(handle); return true; }
    }

    internal sealed class CancelHandle : Handle
    {
        /// <summary>NULL: no token.</summary>
        public static readonly CancelHandle None = new CancelHandle(IntPtr.Zero);
        public CancelHandle(IntPtr handle) : base(handle) { }
        protected override bool ReleaseHandle() { Native.onestep_cancel_free(handle); return true; }
    }
}
