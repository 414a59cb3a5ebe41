using System;

namespace OneStep.Tests
{
    /// <summary>Against the stub library of another interface, which the script puts in the library's place.</summary>
    internal static class AbiTests
    {
        public static void AnotherInterfaceIsRefused()
        {
            if (Environment.GetEnvironmentVariable("ONESTEP_TEST_ABI") != "2") throw new Skipped("needs the stub library");
            const string message = "the library's interface is version 2, this package was written for version 1";
            for (int i = 0; i < 2; i++) // Not the first time alone.
            {
                Check.Fails(Status.AbiMismatch, message, () => Model.OpenDefault());
                Check.Fails(Status.AbiMismatch, message, () => Model.Open("file"));
                Check.Fails(Status.AbiMismatch, message, () => Model.Open(new byte[1]));
                Check.Fails(Status.AbiMismatch, message, () => new Request());
                Check.Fails(Status.AbiMismatch, message, () => new ModelOptions());
                Check.Fails(Status.AbiMismatch, message, () => Noise.Interpolate(Interpolation.Lerp, new float[1], new float[1], new float[1]));
                Check.Fails(Status.AbiMismatch, message, () => Library.Devices());
                Check.Fails(Status.AbiMismatch, message, () => Library.SetLog(null));
            }
        }
    }
}
