using System;
using System.Threading;
using System.Threading.Tasks;

namespace OneStep
{
    // Apart from the rest, which is unsafe: C# awaits in safe code alone.
    public sealed partial class Session
    {
        /// <summary>As <see cref="Sample"/>, on a thread of the pool. The request and the session are in use until the task
        /// is done.</summary>
        public async Task<byte[]> SampleAsync(Request request, PixelFormat format = PixelFormat.Rgba8, LayoutFlags flags = LayoutFlags.None,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (Request.Enter(request))
                return await Task.Run(() => SampleEntered(request, new Layout(format, flags), cancellationToken)).ConfigureAwait(false);
        }

        /// <summary>As SampleInto, on a thread of the pool. The request, the session and the memory are in use until the
        /// task is done.</summary>
        public async Task SampleIntoAsync(Request request, Layout layout, Memory<byte> pixels, CancellationToken cancellationToken = default(CancellationToken))
        {
            using (Request.Enter(request))
                await Task.Run(() => SampleEntered(request, layout, pixels.Span, cancellationToken)).ConfigureAwait(false);
        }
    }
}
