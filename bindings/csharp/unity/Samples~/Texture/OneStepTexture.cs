using System;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using UnityEngine;

namespace OneStep.Samples
{
    /// <summary>Draws on a thread of the pool, and shows the image as the texture of this object's renderer. A frame pays
    /// for the upload alone.</summary>
    [RequireComponent(typeof(Renderer))]
    public sealed class OneStepTexture : MonoBehaviour
    {
        [Tooltip("A file under StreamingAssets; empty: the portraits inside the library.")]
        [SerializeField] private string file = "";
        [Tooltip("Threads that draw; the other cores are the game's.")]
        [SerializeField] private int threads = 1;
        [SerializeField] private int seed = 1;
        [SerializeField] private int label = 4;

        private readonly CancellationTokenSource destroyed = new CancellationTokenSource();
        private bool wanted = true;

        /// <summary>Asks for another image. Asked while one is being drawn, the last one asked for comes next.</summary>
        public void Draw(int newSeed, int newLabel)
        {
            seed = newSeed;
            label = newLabel;
            wanted = true;
        }

        // From the first frame to the last: what it opens it closes, whatever ends it. In Unity, what follows an await
        // runs on the main thread.
        private async void Start()
        {
            CancellationToken token = destroyed.Token;
            Texture2D texture = null;
            try
            {
                string path = file == "" ? null : Path.Combine(Application.streamingAssetsPath, file);
                using (var options = new ModelOptions().SetThreads(threads))
                using (Model model = await Task.Run(() => path == null ? Model.OpenDefault(options, token) : Model.Open(path, options, token)))
                using (Session session = model.CreateSession(options))
                using (var request = new Request())
                {
                    ModelInfo info = model.Info;
                    var layout = new Layout(PixelFormat.Rgba8, LayoutFlags.FlipY);
                    var pixels = new byte[model.OutputSize(1, layout)];
                    token.ThrowIfCancellationRequested();
                    texture = new Texture2D(info.Width, info.Height, TextureFormat.RGBA32, false) { filterMode = FilterMode.Point };
                    GetComponent<Renderer>().material.mainTexture = texture;
                    while (true)
                    {
                        token.ThrowIfCancellationRequested();
                        if (!wanted)
                        {
                            await Task.Yield(); // Until the next frame.
                            continue;
                        }
                        wanted = false;
                        request.SetSeeds((ulong)seed);
                        if (info.NumClasses > 0) request.SetLabels(label);
                        await session.SampleIntoAsync(request, layout, pixels, token);
                        texture.LoadRawTextureData(pixels);
                        texture.Apply(false);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                // The object is gone.
            }
            catch (Exception e)
            {
                Debug.LogException(e);
            }
            finally
            {
                if (texture != null) Destroy(texture);
            }
        }

        private void OnDestroy() { destroyed.Cancel(); }
    }
}
