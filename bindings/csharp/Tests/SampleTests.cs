using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;

namespace OneStep.Tests
{
    /// <summary>Models, requests and pixels.</summary>
    internal static class SampleTests
    {
        public static void Info()
        {
            using (Model model = Digits.Open())
            {
                ModelInfo info = model.Info;
                Check.Equal("16 x 16 x 1", info.Width + " x " + info.Height + " x " + info.Channels, "the shape");
                Check.Equal(10, info.NumClasses, "classes");
                Check.Equal(1, info.DefaultSteps, "steps");
                Check.Equal(Role.Student, info.Role, "the role");
                Check.Equal(Precision.F32, info.Precision, "the precision");
                Check.Equal("unet2d", info.Arch, "the network");
                Check.Equal("cpu", info.Device, "the device");
                Check.True(info.Parameters > 1000000 && info.WeightBytes > 2 * 1000000, "a million parameters");
                MemoryEstimate one = model.EstimateMemory(1), ten = model.EstimateMemory(10);
                Check.True(one.Weights > 0 && ten.Weights == one.Weights && ten.Scratch > one.Scratch && ten.HostPeak > ten.Scratch,
                    "memory grows with the batch");
            }
        }

        public static void JsonSaysWhatInfoDoesNot()
        {
            using (Model student = Digits.Open())
            using (Model teacher = Model.Open(Digits.TeacherPath))
            {
                string text = student.InfoJson();
                Check.True(text[0] == '{' && text[text.Length - 1] == '}', "one object: " + text);
                foreach (string pair in new[] { "\"generator\":\"student\"", "\"prediction\":\"epsilon\"", "\"width\":16", "\"notes\":[" })
                    Check.True(text.Contains(pair), pair + " in " + text);
                Check.True(teacher.InfoJson().Contains("\"generator\":\"teacher\""), "the teacher's kind");
            }
        }

        public static void APreparedSessionDrawsTheSame()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(3))
            {
                session.Prepare(3);
                Check.Same(Digits.Draw(3), session.Sample(request), "three digits");
                Check.Fails(Status.InvalidArgument, "batch", () => session.Prepare(0));
                Check.Fails(Status.InvalidArgument, "batch", () => session.Prepare(-1));
                Check.Fails(Status.InvalidArgument, "4097", () => session.Prepare(4097));
            }
        }

        public static void TheModelInsideDrawsPortraits()
        {
            using (Model model = Model.OpenDefault())
            using (Session session = model.CreateSession())
            using (Request request = new Request().SetSeeds(1, 2).SetLabels(0, 5))
            {
                ModelInfo info = model.Info;
                Check.Equal("16 x 16 x 4, 8 classes", info.Width + " x " + info.Height + " x " + info.Channels + ", " + info.NumClasses +
                    " classes", "the shape");
                Check.Equal(Role.Student, info.Role, "the role");
                byte[] straight = session.Sample(request);
                byte[] multiplied = session.Sample(request, PixelFormat.Rgba8, LayoutFlags.Premultiplied);
                for (int i = 0; i < straight.Length; i++)
                {
                    int alpha = straight[i | 3], value = i % 4 == 3 ? alpha : (straight[i] * alpha + 127) / 255;
                    Check.Equal(value, (int)multiplied[i], "byte " + i);
                }
                Check.True(straight[3] < 16, "the upper left is transparent");
                Check.True(!session.Sample(request.SetDdim(2)).AsSpan().SequenceEqual(straight), "two calls are another image");
            }
        }

        public static void TheLibraryTellsOfItself()
        {
            Check.True(Version.TryParse(Library.Version, out Version _), "a version: " + Library.Version);
            Check.True(Library.BuildInfo.Contains(Library.Version), "the build's version: " + Library.BuildInfo);
            Device device = Library.Devices().First();
            Check.Equal(DeviceKind.Cpu, device.Kind, "the first device");
            Check.Equal("cpu", device.Id, "its id");
        }

        public static void FileMemoryAndLibraryHoldTheSameModel()
        {
            byte[] expected = Digits.Draw(3);
            using (Model file = Model.Open(Digits.StudentPath))
            using (Model memory = Model.Open(File.ReadAllBytes(Digits.StudentPath)))
            using (Session first = file.CreateSession())
            using (Session second = memory.CreateSession())
            using (Request request = Digits.Request(3))
            {
                Check.Same(expected, first.Sample(request), "pixels of the file");
                Check.Same(expected, second.Sample(request), "pixels of the bytes");
            }
        }

        public static void ThePathIsUtf8()
        {
            string folder = Path.Combine(Path.GetTempPath(), "onestep-" + Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(folder);
            try
            {
                string path = Path.Combine(folder, "Zähler 数字.safetensors");
                File.Copy(Digits.StudentPath, path);
                using (Model model = Model.Open(path)) Check.Equal(16, model.Info.Width, "the width");
            }
            finally
            {
                Directory.Delete(folder, true);
            }
        }

        public static void AnImageDependsOnItsSeedAlone()
        {
            byte[] ten = Digits.Draw(10);
            using (Model model = Digits.Open(new ModelOptions().SetThreads(1)))
            using (Session session = model.CreateSession())
            using (Request request = new Request().SetSeeds(7).SetLabels(7))
            {
                byte[] one = session.Sample(request);
                Check.Same(ten.AsSpan(7 * one.Length, one.Length), one, "image 7 of ten, and alone");
                Check.True(!session.Sample(request.SetSeeds(8)).AsSpan().SequenceEqual(one), "another seed is another image");
            }
        }

        public static void NoiseStandsInForSeeds()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = new Request().SetNoise(model.Noise(0, 1, 2)).SetLabels(0, 1, 2))
                Check.Same(Digits.Draw(3), session.Sample(request), "pixels from noise");
        }

        public static void InterpolationEndsWhereItShould()
        {
            using (Model model = Digits.Open())
            {
                float[] a = model.Noise(1), b = model.Noise(2);
                float[] lerp = Noise.Interpolate(Interpolation.Lerp, a, b, new[] { 0f, 0.5f, 1f });
                Check.True(lerp.AsSpan(0, a.Length).SequenceEqual(a), "t = 0 gives a");
                Check.Equal((a[5] + b[5]) / 2, lerp[a.Length + 5], "the middle");
                float[] slerp = Noise.Interpolate(Interpolation.Slerp, a, b, new[] { 0.5f });
                Func<float[], double> norm = x => Math.Sqrt(x.Sum(v => (double)v * v));
                Check.True(Math.Abs(norm(slerp) - (norm(a) + norm(b)) / 2) < 0.3, "slerp keeps the norm");
                Check.Fails(Status.InvalidArgument, "interpolate: a has 256 floats, b has 3",
                    () => Noise.Interpolate(Interpolation.Lerp, a, new float[3], new[] { 0f }));
            }
        }

        public static void FlipYTurnsEachImageUpsideDown()
        {
            const int row = Digits.Side * 4;
            byte[] upright = Digits.Draw(2), flipped = Digits.Draw(2, PixelFormat.Rgba8, LayoutFlags.FlipY);
            for (int y = 0; y < 2 * Digits.Side; y++)
            {
                int turned = y < Digits.Side ? Digits.Side - 1 - y : 3 * Digits.Side - 1 - y;
                Check.Same(upright.AsSpan(y * row, row), flipped.AsSpan(turned * row, row), "row " + y);
            }
        }

        public static void FormatsAgree()
        {
            byte[] rgba = Digits.Draw(2), rgb = Digits.Draw(2, PixelFormat.Rgb8), bgra = Digits.Draw(2, PixelFormat.Bgra8);
            byte[] floats = Digits.Draw(2, PixelFormat.F32Nchw), unit = Digits.Draw(2, PixelFormat.F32Nhwc, LayoutFlags.F32UnitRange);
            Check.Equal(2 * Digits.Image * 3, rgb.Length, "bytes of RGB8");
            for (int i = 0; i < 2 * Digits.Image; i++)
            {
                byte grey = rgba[4 * i];
                Check.True(rgba[4 * i + 1] == grey && rgba[4 * i + 3] == 255 && rgb[3 * i + 2] == grey && bgra[4 * i] == grey, "grey");
                float x = Math.Min(1, Math.Max(-1, BitConverter.ToSingle(floats, 4 * i)));
                Check.True(Math.Abs((x + 1) * 127.5f - grey) <= 0.501f, "a float of " + x + " is a byte of " + grey);
                float u = BitConverter.ToSingle(unit, 4 * i);
                Check.True(Math.Abs(u * 2 - 1 - BitConverter.ToSingle(floats, 4 * i)) < 1e-5f, "the unit range");
            }
        }

        public static void StridesLeaveTheGapsAlone()
        {
            const int row = Digits.Side * 3 + 5, image = Digits.Side * row + 77;
            var layout = new Layout(PixelFormat.Rgb8) { RowStride = row, ImageStride = image };
            byte[] tight = Digits.Draw(2, PixelFormat.Rgb8);
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(2))
            {
                var pixels = new byte[(int)model.OutputSize(2, layout) + 1];
                pixels.AsSpan().Fill(0xcd);
                session.SampleInto(request, layout, pixels.AsSpan(1)); // An odd address is as good.
                for (int i = 0; i < 2; i++)
                    for (int y = 0; y < Digits.Side; y++)
                    {
                        int at = 1 + i * image + y * row;
                        Check.Same(tight.AsSpan((i * Digits.Side + y) * Digits.Side * 3, Digits.Side * 3),
                            pixels.AsSpan(at, Digits.Side * 3), "row " + y);
                        if (i == 0) Check.True(pixels[at + Digits.Side * 3] == 0xcd && pixels[at + row - 1] == 0xcd, "a gap");
                    }
                Check.Equal(0xcd, pixels[0], "the byte before");

                IntPtr native = Marshal.AllocHGlobal(tight.Length);
                session.SampleInto(request, PixelFormat.Rgb8, native, tight.Length);
                var copied = new byte[tight.Length];
                Marshal.Copy(native, copied, 0, copied.Length);
                Marshal.FreeHGlobal(native);
                Check.Same(tight, copied, "pixels by a pointer");
            }
        }

        public static void AnAtlasIsSixtyFourImages()
        {
            const int across = 8, count = across * across, line = Digits.Side * 4;
            byte[] tight = Digits.Draw(count);
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(count))
            {
                Layout sheet = Layout.Sheet(PixelFormat.Rgba8, across);
                var pixels = new byte[model.OutputSize(count, sheet)];
                Check.Equal(tight.Length, pixels.Length, "the size of the sheet");
                session.SampleInto(request, sheet, pixels);
                for (int i = 0; i < count; i++)
                    for (int y = 0; y < Digits.Side; y++)
                        Check.Same(tight.AsSpan((i * Digits.Side + y) * line, line),
                            pixels.AsSpan(((i / across * Digits.Side + y) * across + i % across) * line, line), "image " + i + ", row " + y);
            }
        }

        public static void TeachersTakeSamplersAndSchedules()
        {
            using (Model model = Model.Open(Digits.TeacherPath))
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(1).SetDdim(4))
            {
                byte[] ddim = session.Sample(request);
                request.SetSampler(Sampler.Ddim, Spacing.Leading, 4);
                Check.Same(ddim, session.Sample(request), "the file's spacing and leading");
                request.SetSchedule(999, 10);
                Check.True(!session.Sample(request).AsSpan().SequenceEqual(ddim), "a schedule is another image");
                request.SetSchedule().SetSampler(Sampler.Ddpm, Spacing.File, 4);
                Check.True(!session.Sample(request).AsSpan().SequenceEqual(ddim), "DDPM is another image");
            }
        }

        /// <summary>Consistency models and EDM's draw by samplers of their own, and refuse others.</summary>
        public static void OtherModelsHaveOtherSamplers()
        {
            string golden = Path.Combine(Program.Repository, "tests", "golden");
            using (Model edm = Model.Open(Path.Combine(golden, "edm", "tiny")))
            using (Model consistency = Model.Open(Path.Combine(golden, "consistency", "tiny")))
            using (Session onEdm = edm.CreateSession())
            using (Session onConsistency = consistency.CreateSession())
            using (Request request = new Request().SetSeeds(7))
            {
                Func<Session, Sampler, int, byte[]> draw = (session, sampler, steps) =>
                    session.Sample(request.SetSampler(sampler, Spacing.File, steps), PixelFormat.F32Nchw);
                byte[] euler = draw(onEdm, Sampler.Euler, 3);
                Check.True(!euler.AsSpan().SequenceEqual(draw(onEdm, Sampler.Heun, 3)), "two calls a step are another image");
                Check.Same(draw(onEdm, Sampler.Euler, 1), draw(onEdm, Sampler.Heun, 1), "the last step");
                Check.Fails(Status.InvalidArgument, "sampler", () => draw(onEdm, Sampler.Ddpm, 3));
                request.SetLabels(1);
                byte[] one = draw(onConsistency, Sampler.Consistency, 1);
                Check.True(!one.AsSpan().SequenceEqual(draw(onConsistency, Sampler.Consistency, 2)), "two steps are another image");
                Check.Fails(Status.InvalidArgument, "sampler", () => draw(onConsistency, Sampler.Heun, 2));
            }
        }

        public static void TheBareNetworkIsTheStudent()
        {
            using (Model model = Digits.Open())
            using (Session session = model.CreateSession())
            using (Request request = Digits.Request(2))
            {
                float[] x = model.Noise(0, 1), eps = new float[x.Length];
                session.Predict(x, new[] { 999, 999 }, new[] { 0, 1 }, eps);
                byte[] drawn = session.Sample(request, PixelFormat.F32Nchw);
                for (int i = 0; i < x.Length; i++)
                    Check.True(Math.Abs(x[i] - eps[i] - BitConverter.ToSingle(drawn, 4 * i)) < 1e-5f, "x_0 = x_T - eps at " + i);
                float[] at = new float[x.Length];
                session.PredictAt(x, new[] { 999f, 998.5f }, new[] { 0, 1 }, at);
                for (int i = 0; i < 256; i++)
                    Check.True(at[i] == eps[i], "a whole time is a timestep, at " + i);
                Check.True(Math.Abs(at[256] - eps[256]) > 0, "times lie between timesteps");
                Check.Fails(Status.InvalidArgument, "times: NaN of image 0 is no finite number",
                    () => session.PredictAt(x, new[] { float.NaN, 0f }, new[] { 0, 1 }, at));
                Check.Fails(Status.InvalidArgument, "predict: x has 512 floats, expected 256",
                    () => session.Predict(x, new[] { 999 }, new[] { 0 }, eps));
                Check.Fails(Status.InvalidArgument, "predict: 1 labels, expected 2",
                    () => session.Predict(x, new[] { 999, 999 }, new[] { 0 }, eps));
            }
        }
    }
}
