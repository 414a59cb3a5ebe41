using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;

namespace OneStep.Tests
{
    /// <summary>What every binding must give: the hashes in tests/golden/hosts.txt.</summary>
    internal static class GoldenTests
    {
        public static void Noise()
        {
            using (Model model = Model.OpenDefault())
            {
                float[] noise = model.Noise(Enumerable.Range(0, 8).Select(i => (ulong)i).ToArray());
                Check.Equal(8 * 4 * Digits.Image, noise.Length, "floats of noise");
                Check.Equal(Expected("noise"), Fnv1a(MemoryMarshal.AsBytes(noise.AsSpan())), "the hash of noise");
            }
        }

        public static void Pixels()
        {
            // The library reads the variable once, when it is first used: the script runs this test in its own process.
            if (Environment.GetEnvironmentVariable("ONESTEP_ISA") != "portable") throw new Skipped("needs ONESTEP_ISA=portable");
            using (Model model = Model.OpenDefault())
            using (Session session = model.CreateSession())
            using (Request request = new Request().SetSeeds(0, 1, 2, 3, 4, 5, 6, 7).SetLabels(0, 1, 2, 3, 4, 5, 6, 7))
            {
                Check.Equal(Expected("pixels"), Fnv1a(session.Sample(request)), "the hash of pixels");
                byte[] multiplied = session.Sample(request, PixelFormat.Rgba8, LayoutFlags.Premultiplied);
                Check.Equal(Expected("premultiplied"), Fnv1a(multiplied), "of colours times alpha");
            }
        }

        private static ulong Fnv1a(ReadOnlySpan<byte> bytes)
        {
            ulong hash = 0xcbf29ce484222325;
            foreach (byte b in bytes) hash = (hash ^ b) * 0x100000001b3;
            return hash;
        }

        private static ulong Expected(string key)
        {
            string line = File.ReadLines(Path.Combine(Program.Repository, "tests", "golden", "hosts.txt"))
                .Single(l => l.StartsWith(key + " "));
            return ulong.Parse(line.Substring(key.Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        }
    }
}
