using System;
using System.Threading;

namespace OneStep
{
    /// <summary>How to open a model and make a session; null stands for all defaults wherever one is taken. Setters copy,
    /// and may be chained. Models and sessions do not need it once they are there. One call at a time: a second one gets
    /// Busy.</summary>
    public sealed unsafe class ModelOptions : IDisposable
    {
        private readonly Gate gate = new Gate("these options");
        private readonly OptionsHandle handle;
        private ProgressHandler progress;

        /// <summary>Options with all defaults.</summary>
        public ModelOptions()
        {
            Library.Check();
            handle = new OptionsHandle(Native.onestep_options_new());
        }

        /// <summary>The device: "auto" (the default), "cpu", "cuda:0", "metal:0". Read when a model is opened.</summary>
        public ModelOptions SetDevice(string id)
        {
            using (gate.Enter())
            fixed (byte* text = Utf8.Bytes(id, nameof(id)))
            {
                NativeError error;
                NativeError.Check(Native.onestep_options_set_device(handle, text, &error), &error);
            }
            return this;
        }

        /// <summary>Threads of a session, 1 to 1024; 0, the default: the process's share. Pixels do not depend on it.</summary>
        public ModelOptions SetThreads(int threads)
        {
            using (gate.Enter())
            {
                NativeError error;
                NativeError.Check(Native.onestep_options_set_threads(handle, (uint)threads, &error), &error);
            }
            return this;
        }

        /// <summary>The arithmetic. Read when a model is opened.</summary>
        public ModelOptions SetPrecision(Precision precision)
        {
            using (gate.Enter())
            {
                NativeError error;
                NativeError.Check(Native.onestep_options_set_precision(handle, (int)precision, &error), &error);
            }
            return this;
        }

        /// <summary>What the model is used as. Read when a model is opened.</summary>
        public ModelOptions SetRole(Role role)
        {
            using (gate.Enter())
            {
                NativeError error;
                NativeError.Check(Native.onestep_options_set_role(handle, (int)role, &error), &error);
            }
            return this;
        }

        /// <summary>Progress of opening, and of every call of sessions made with these options whose request names no
        /// other; null for none.</summary>
        public ModelOptions SetProgress(ProgressHandler handler)
        {
            using (gate.Enter())
            {
                NativeError error;
                IntPtr function = handler == null ? IntPtr.Zero : Progress.Function;
                NativeError.Check(Native.onestep_options_set_progress(handle, function, IntPtr.Zero, &error), &error);
                progress = handler;
            }
            return this;
        }

        /// <summary>An option without a setter of its own, by the key that onestep.h lists under
        /// onestep_options_set.</summary>
        public ModelOptions Set(string key, string value)
        {
            using (gate.Enter())
            fixed (byte* name = Utf8.Bytes(key, nameof(key)), text = Utf8.Bytes(value, nameof(value)))
            {
                NativeError error;
                NativeError.Check(Native.onestep_options_set(handle, name, text, &error), &error);
            }
            return this;
        }

        /// <summary>Frees the options. Can be called any number of times.</summary>
        public void Dispose() { handle.Dispose(); }

        internal delegate int Maker(OptionsHandle options, IntPtr* made, NativeError* error);

        /// <summary>A handle that <paramref name="make"/> makes with these options, or null for the defaults.</summary>
        internal static IntPtr Make(ModelOptions options, CancellationToken token, Maker make)
        {
            if (options == null)
            {
                if (token.CanBeCanceled)
                    using (var defaults = new ModelOptions()) return Make(defaults, token, make);
                NativeError error;
                IntPtr made = IntPtr.Zero;
                NativeError.Check(make(OptionsHandle.None, &made, &error), &error);
                return made;
            }
            using (options.gate.Enter()) return options.Make(token, make);
        }

        private IntPtr Make(CancellationToken token, Maker make)
        {
            NativeError error;
            IntPtr made = IntPtr.Zero;
            int code;
            Call call = Call.Begin(progress, token);
            try
            {
                if (call.Cancel != null) NativeError.Check(Native.onestep_options_set_cancel(handle, call.Cancel, &error), &error);
                code = make(handle, &made, &error);
            }
            finally
            {
                if (call.Cancel != null) Native.onestep_options_set_cancel(handle, CancelHandle.None, null);
                call.End();
            }
            call.Check(code, &error);
            return made;
        }

        internal static ProgressHandler ProgressOf(ModelOptions options) { return options?.progress; }
    }
}
