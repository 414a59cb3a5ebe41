using System;

namespace OneStep
{
    /// <summary>What the library refused or could not do. The message is the library's: it names the file, tensor or
    /// argument, what was found and what was expected.</summary>
    public sealed class OneStepException : Exception
    {
        /// <summary>An exception of this kind; <paramref name="nativeCode"/> is the operating system's number, or 0.</summary>
        public OneStepException(Status code, string message, int nativeCode = 0) : base(message)
        {
            Code = code;
            NativeCode = nativeCode;
        }

        /// <summary>What went wrong, as a kind.</summary>
        public Status Code { get; }

        /// <summary>The operating system's or driver's own number, or 0.</summary>
        public int NativeCode { get; }
    }
}
