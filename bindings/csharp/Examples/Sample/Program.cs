using System;
using System.IO;
using System.Linq;
using System.Text;
using OneStep;

/// <summary>Ten handwritten digits, drawn by the student inside the library, side by side in a PGM picture.
/// dotnet run -- digits.pgm</summary>
internal static class Program
{
    private const int Digits = 10, Side = 16;

    private static int Main(string[] args)
    {
        string path = args.Length > 0 ? args[0] : "digits.pgm";
        try
        {
            using (Model model = Model.OpenDefault())
            using (Session session = model.CreateSession())
            using (var request = new Request())
            {
                request.SetSeeds(Enumerable.Range(0, Digits).Select(i => (ulong)i).ToArray());
                request.SetLabels(Enumerable.Range(0, Digits).ToArray());
                byte[] images = session.Sample(request, PixelFormat.Rgb8); // One channel: red, green and blue are the same.

                using (FileStream file = File.Create(path))
                {
                    byte[] header = Encoding.ASCII.GetBytes("P5\n" + Digits * Side + " " + Side + "\n255\n");
                    file.Write(header, 0, header.Length);
                    for (int y = 0; y < Side; y++)
                        for (int i = 0; i < Digits; i++)
                            for (int x = 0; x < Side; x++)
                                file.WriteByte(images[((i * Side + y) * Side + x) * 3]);
                }
            }
            return 0;
        }
        catch (OneStepException e)
        {
            Console.Error.WriteLine(e.Code + ": " + e.Message);
            return 1;
        }
    }
}
