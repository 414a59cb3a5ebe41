using System;
using System.IO;
using System.Linq;
using System.Threading;

namespace OneStep.Tests
{
    /// <summary>What most tests draw: digits of a student, and its teacher.</summary>
    internal static class Digits
    {
        public const int Side = 16, Image = Side * Side;

        public static string TeacherPath => Path.Combine(Program.Repository, "models", "digits-teacher.safetensors");
        public static string StudentPath => Path.Combine(Program.Repository, "models", "digits-student.safetensors");

        public static Model Open(ModelOptions options = null, CancellationToken cancellationToken = default(CancellationToken))
        {
            return Model.Open(StudentPath, options, cancellationToken);
        }

        /// <summary>Seeds 0 to n - 1, and the same as labels, modulo ten.</summary>
        public static Request Request(int n)
        {
            return new Request()
                .SetSeeds(Enumerable.Range(0, n).Select(i => (ulong)i).ToArray())
                .SetLabels(Enumerable.Range(0, n).Select(i => i % 10).ToArray());
        }

        public static byte[] Draw(int n, PixelFormat format = PixelFormat.Rgba8, LayoutFlags flags = LayoutFlags.None)
        {
            using (Model model = Open())
            using (Session session = model.CreateSession())
            using (Request request = Request(n))
                return session.Sample(request, format, flags);
        }
    }
}
