using System;
using System.IO;
using System.Linq;
using OneStep;

/// <summary>Eight portraits with transparency, drawn by the student inside the library, side by side in a TGA picture.
/// dotnet run -- portraits.tga</summary>
internal static class Program
{
    private const int Portraits = 8, Side = 16, Width = Portraits * Side;

    private static int Main(string[] args)
    {
        string path = args.Length > 0 ? args[0] : "portraits.tga";
        try
        {
            using (Model model = Model.OpenDefault())
            using (Session session = model.CreateSession())
            using (var request = new Request())
            {
                request.SetSeeds(Enumerable.Range(0, Portraits).Select(i => (ulong)i).ToArray());
                request.SetLabels(Enumerable.Range(0, Portraits).ToArray());
                Layout layout = Layout.Sheet(PixelFormat.Bgra8, Portraits);
                // Pixels as they are, 32 bits each, eight of them alpha, top row first.
                var header = new byte[] { 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, Width, 0, Side, 0, 32, 0x28 };
                var picture = new byte[header.Length + Side * Width * 4];
                header.CopyTo(picture, 0);
                session.SampleInto(request, layout, picture.AsSpan(header.Length));
                File.WriteAllBytes(path, picture);
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
