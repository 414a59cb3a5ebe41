using System;
using System.Threading;

namespace OneStep
{
    /// <summary>Lets one in at a time, and tells a second one so. What the library asks its callers to see to for requests
    /// and options is seen to here, since a mistake must not be worse than an exception.</summary>
    internal sealed class Gate
    {
        private readonly string name;
        private int held;

        public Gate(string name) { this.name = name; }

        /// <summary>In until it is disposed.</summary>
        public Held Enter()
        {
            if (Interlocked.Exchange(ref held, 1) != 0)
                throw new OneStepException(Status.Busy, "another call is using " + name);
            return new Held(this);
        }

        internal struct Held : IDisposable
        {
            private readonly Gate gate;
            public Held(Gate gate) { this.gate = gate; }
            public void Dispose() { Volatile.Write(ref gate.held, 0); }
        }
    }
}
