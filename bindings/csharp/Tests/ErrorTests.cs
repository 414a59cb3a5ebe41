using System;
using System.Collections.Generic;
using System.IO;

namespace OneStep.Tests
{
    /// <summary>Codes and messages.</summary>
    internal static class ErrorTests
    {
        public static void AMissingFile()
        {
            OneStepException thrown = Check.Fails(Status.Io, "/no/such/model.safetensors", () => Model.Open("/no/such/model.safetensors"));
            Check.Equal(2, thrown.NativeCode, "ENOENT");
        }

        public static void TruncatedBytes()
        {
            byte[] file = File.ReadAllBytes(Digits.StudentPath);
            Check.Fails(Status.BadModel, "", () => Model.Open(file.AsSpan(0, file.Length / 2)));
            Check.Fails(Status.BadModel, "", () => Model.Open(file.AsSpan(0, 5)));
        }

        public static void AFlippedBit()
        {
            byte[] file = File.ReadAllBytes(Digits.StudentPath);
            file[file.Length - 100] ^= 4;
            Check.Fails(Status.BadModel, "", () => Model.Open(file));
        }

        public static void BadRequests()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(2))
            {
                Check.Fails(Status.InvalidArgument, "10", () => session.Sample(request.SetLabels(3, 10)));
                Check.Fails(Status.InvalidArgument, "label", () => session.Sample(request.SetLabels(3)));
                Check.Fails(Status.InvalidArgument, "label", () => session.Sample(request.SetLabels()));
                request.SetLabels(1, 2);
                Check.Fails(Status.InvalidArgument, "", () => request.SetDdim(4, 2));
                Check.Fails(Status.InvalidArgument, "", () => request.SetGuidance(float.NaN));
                Check.Fails(Status.InvalidArgument, "", () => session.Sample(request, (PixelFormat)77));
                using (Request negative = Digits.Request(1))
                    Check.Fails(Status.InvalidArgument, "", () => session.Sample(negative.SetDdim(-1)));
                using (var empty = new Request()) Check.Fails(Status.InvalidArgument, "", () => session.Sample(empty));
                using (Request steps = Digits.Request(1).SetDdim(4))
                    Check.Fails(Status.InvalidArgument, "student", () => session.Sample(steps));
                session.Sample(request);
            }
        }

        public static void TheWrongBuffer()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(2))
            {
                var small = new byte[2 * Digits.Image * 4 - 1];
                Check.Fails(Status.BufferTooSmall, "2048", () => session.SampleInto(request, PixelFormat.Rgba8, small));
                Check.True(Array.TrueForAll(small, b => b == 0), "nothing was written");
                Check.Throws<OverflowException>(() => session.SampleInto(request, PixelFormat.Rgba8, IntPtr.Zero, -1));
                var layout = new Layout(PixelFormat.Rgb8) { RowStride = 16 * 3 - 1 };
                Check.Fails(Status.InvalidArgument, "row_stride", () => model.OutputSize(1, layout));
                Check.Fails(Status.InvalidArgument, "", () => model.OutputSize(-1, PixelFormat.Rgb8));
                Check.Fails(Status.BufferTooSmall, "256", () => model.NoiseInto(new ulong[] { 1 }, new float[7]));
            }
        }

        public static void BadOptions()
        {
            using (var options = new ModelOptions())
            {
                Check.Fails(Status.InvalidArgument, "no-such-key", () => options.Set("no-such-key", "1"));
                Check.Fails(Status.InvalidArgument, "1025", () => options.SetThreads(1025));
                Check.Fails(Status.InvalidArgument, "", () => options.SetPrecision((Precision)9));
                Check.Fails(Status.InvalidArgument, "toaster", () => { options.SetDevice("toaster"); Model.OpenDefault(options); });
                Check.Throws<ArgumentException>(() => options.SetDevice("cpu\0gpu"));
                Check.Throws<ArgumentNullException>(() => options.SetDevice(null));
            }
            Check.Throws<ArgumentNullException>(() => Model.Open((string)null));
            Check.Throws<OneStepException>(() => Model.OpenDefault(new ModelOptions().SetDevice("cuda:9999")));
            using (Model model = Model.OpenDefault(new ModelOptions().SetPrecision(Precision.Bf16).Set("memory", "low")))
                Check.Equal(Precision.Bf16, model.Info.Precision, "the precision asked for");
        }

        public static void ALibraryThatLogsIsHeard()
        {
            var lines = new List<string>();
            Library.SetLog((level, text) => { lock (lines) lines.Add(level + " " + text); throw new Exception("dropped"); }, LogLevel.Debug);
            Digits.Draw(1);
            Library.SetLog(null);
            int heard = lines.Count;
            Check.True(heard > 0, "something was said");
            Digits.Draw(1);
            Check.Equal(heard, lines.Count, "lines after the end");
        }
    }
}
