using System;
using System.IO;
using System.Linq;

namespace OneStep.Tests
{
    /// <summary>What the tests draw: the model inside the library, and its teacher.</summary>
    internal static class Digits
    {
        public const int Side = 16, Image = Side * Side;

        public static string TeacherPath => Path.Combine(Program.Repository, "models", "digits-teacher.safetensors");
        public static string StudentPath => Path.Combine(Program.Repository, "models", "digits-student.safetensors");

        /// <summary>Seeds 0 to n - 1, and the same as labels, modulo ten.</summary>
        public static Request Request(int n)
        {
            return new Request()
                .SetSeeds(Enumerable.Range(0, n).Select(i => (ulong)i).ToArray())
                .SetLabels(Enumerable.Range(0, n).Select(i => i % 10).ToArray());
        }

        public static byte[] Draw(int n, PixelFormat format = PixelFormat.Rgba8, LayoutFlags flags = LayoutFlags.None)
        {
            using (Model model = Model.OpenDefault())
            using (Session session = model.CreateSession())
            using (Request request = Request(n))
                return session.Sample(request, format, flags);
        }
    }
}
