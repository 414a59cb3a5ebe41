// A window of sprites that never stop changing: pictures drawn while the program runs, by a one-step student, on one
// thread beside the one that shows sixty frames a second. See docs/hosts/cpp.md.
//
//     sprites [MODEL] [--budget MS] [--frames N] [--screenshot FILE.bmp]
//
// MODEL: a student's file; without one, the portraits inside the library. Each frame has --budget milliseconds (12) for its
// share of the drawing. With --frames it ends by itself and tells what it measured.
#include "painter.hpp"

#include <SDL.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace {

constexpr int columns = 8, rows = 5, side = 96;
constexpr double frame_milliseconds = 1000.0 / 60;

struct arguments {
    const char *model = nullptr, *screenshot = nullptr;
    double budget = 12;
    long frames = 0;
};

arguments parsed(int argc, char **argv) {
    arguments found;
    for (int i = 1; i < argc; i++) {
        const auto value = [&] { return i + 1 < argc ? argv[++i] : throw std::invalid_argument(argv[i]); };
        if (std::strcmp(argv[i], "--budget") == 0) found.budget = std::atof(value());
        else if (std::strcmp(argv[i], "--frames") == 0) found.frames = std::atol(value());
        else if (std::strcmp(argv[i], "--screenshot") == 0) found.screenshot = value();
        else if (argv[i][0] != '-' && !found.model) found.model = argv[i];
        else throw std::invalid_argument(std::string("unknown argument: ") + argv[i]);
    }
    return found;
}

template <class T> T *sdl(T *made) { return made ? made : throw std::runtime_error(SDL_GetError()); }
void sdl(int status) {
    if (status != 0) throw std::runtime_error(SDL_GetError());
}

template <auto Destroy> struct destroyed {
    template <class T> void operator()(T *made) const { Destroy(made); }
};
using window = std::unique_ptr<SDL_Window, destroyed<SDL_DestroyWindow>>;
using renderer = std::unique_ptr<SDL_Renderer, destroyed<SDL_DestroyRenderer>>;
using texture = std::unique_ptr<SDL_Texture, destroyed<SDL_DestroyTexture>>;
using surface = std::unique_ptr<SDL_Surface, destroyed<SDL_FreeSurface>>;

double milliseconds() { return 1000.0 * SDL_GetPerformanceCounter() / SDL_GetPerformanceFrequency(); }

bool closed() {
    bool quit = false;
    for (SDL_Event event; SDL_PollEvent(&event);) {
        quit |= event.type == SDL_QUIT;
        quit |= event.type == SDL_KEYDOWN && event.key.keysym.sym == SDLK_ESCAPE;
    }
    return quit;
}

// The sprites' textures, and the picture of all of them.
class wall {
  public:
    wall(SDL_Renderer *renderer, const onestep_model_info &info) : renderer_(renderer), width_(info.width) {
        SDL_SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "nearest");
        for (int i = 0; i < columns * rows; i++) {
            textures_.emplace_back(sdl(SDL_CreateTexture(renderer, SDL_PIXELFORMAT_RGBA32, SDL_TEXTUREACCESS_STREAMING,
                                                         info.width, info.height)));
            sdl(SDL_SetTextureBlendMode(textures_.back().get(), SDL_BLENDMODE_BLEND)); // Alpha is not multiplied in.
        }
    }
    void update(const batch &drawn) {
        const std::size_t bytes = drawn.pixels.size() / drawn.count;
        for (std::size_t i = 0; i < drawn.count; i++)
            sdl(SDL_UpdateTexture(textures_[(drawn.first + i) % textures_.size()].get(), nullptr,
                                  drawn.pixels.data() + i * bytes, width_ * 4));
    }
    void show() {
        sdl(SDL_SetRenderDrawColor(renderer_, 64, 72, 92, 255));
        sdl(SDL_RenderClear(renderer_));
        for (int i = 0; i < columns * rows; i++) {
            const SDL_Rect place{i % columns * side + 2, i / columns * side + 2, side - 4, side - 4};
            sdl(SDL_RenderCopy(renderer_, textures_[static_cast<std::size_t>(i)].get(), nullptr, &place));
        }
    }
    void save(const char *path) {
        const surface picture(sdl(SDL_CreateRGBSurfaceWithFormat(0, columns * side, rows * side, 24, SDL_PIXELFORMAT_BGR24)));
        sdl(SDL_RenderReadPixels(renderer_, nullptr, SDL_PIXELFORMAT_BGR24, picture->pixels, picture->pitch));
        sdl(SDL_SaveBMP(picture.get(), path));
    }

  private:
    SDL_Renderer *renderer_;
    int width_;
    std::vector<texture> textures_;
};

// What was measured while the program ran.
struct measured {
    long frames = 0, late_frames = 0, batches = 0, late_batches = 0;
    double longest_frame = 0, longest_batch = 0;

    void frame(double taken) {
        frames++;
        late_frames += taken > frame_milliseconds;
        longest_frame = std::max(longest_frame, taken);
    }
    void batch(double taken, double budget) {
        batches++;
        late_batches += taken > budget;
        longest_batch = std::max(longest_batch, taken);
    }
};

int run(const arguments &given) {
    const onestep::model model = onestep::or_throw(given.model ? onestep::model::open_file(given.model)
                                                               : onestep::model::open_default());
    sdl(SDL_Init(SDL_INIT_VIDEO));
    std::atexit(SDL_Quit);
    const window shown(sdl(SDL_CreateWindow("onestep sprites", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED,
                                            columns * side, rows * side, 0)));
    const renderer drawing(sdl(SDL_CreateRenderer(shown.get(), -1, 0)));
    wall sprites(drawing.get(), model.info());
    painter worker(model, columns * rows, given.budget);
    measured found;

    worker.ask(0);
    for (std::size_t drawn = 0; drawn < columns * rows; SDL_Delay(1))
        if (auto first = worker.take()) {
            drawn += first->count;
            sprites.update(*first);
            worker.reuse(std::move(*first));
            worker.ask(0);
        }

    const double begun = milliseconds();
    double due = begun;
    while (!closed() && (given.frames == 0 || found.frames < given.frames)) {
        const double now = milliseconds();
        if (auto drawn = worker.take()) {
            found.batch(drawn->milliseconds, given.budget);
            sprites.update(*drawn);
            worker.reuse(std::move(*drawn));
            worker.ask((now - begun) / 1000);
        }
        sprites.show();
        if (given.screenshot && found.frames + 1 == given.frames) sprites.save(given.screenshot);
        SDL_RenderPresent(drawing.get());
        found.frame(milliseconds() - now);
        due += frame_milliseconds;
        if (const double left = due - milliseconds(); left > 0) SDL_Delay(static_cast<std::uint32_t>(left));
        else due = milliseconds();
    }

    if (given.frames == 0) return 0;
    std::printf("%ld frames, longest %.1f ms, %ld over %.1f ms\n", found.frames, found.longest_frame, found.late_frames,
                frame_milliseconds);
    std::printf("%ld batches of %zu sprites, longest %.1f ms, %ld over the budget of %.1f ms\n", found.batches,
                worker.count(), found.longest_batch, found.late_batches, given.budget);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    try {
        return run(parsed(argc, argv));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "sprites: %s\n", error.what());
        return 1;
    }
}
