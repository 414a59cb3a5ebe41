using System;
using System.Threading;

namespace OneStep
{
    /// <summary>What one call carries beside its arguments: a progress handler and a cancellation token. Begin it, make the
    /// native call, End it whatever happened, then Check the status. Carrying neither, it allocates nothing.</summary>
    internal unsafe struct Call
    {
        private static readonly Action<object> trigger = cancel => Native.onestep_cancel_trigger((CancelHandle)cancel);

        private CancellationToken token;
        private CancelHandle cancel;
        private CancellationTokenRegistration registration;
        private Progress progress;

        /// <summary>The library's token for this call, or null.</summary>
        public CancelHandle Cancel => cancel;

        public static Call Begin(ProgressHandler handler, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            var call = new Call { token = token };
            if (token.CanBeCanceled)
            {
                call.cancel = new CancelHandle(Native.onestep_cancel_new());
                call.registration = token.Register(trigger, call.cancel);
            }
            if (handler != null) call.progress = new Progress(handler);
            return call;
        }

        public void End()
        {
            progress?.End();
            if (cancel == null) return;
            registration.Dispose(); // Waits for a trigger that is under way, which must be over before the token goes.
            cancel.Dispose();
        }

        public void Check(int code, NativeError* error)
        {
            progress?.Rethrow();
            if (code == 0) return;
            OneStepException told = NativeError.Exception(error);
            if (told.Code == Status.Cancelled && token.IsCancellationRequested)
                throw new OperationCanceledException(told.Message, told, token);
            throw told;
        }
    }
}
