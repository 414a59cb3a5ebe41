"""Makes tests/golden/pictures: files in colour and in grey, turned, transparent and cut short, by Pillow. `python3 tests/golden/pictures.py`."""

from pathlib import Path

from PIL import Image, ImageOps

folder = Path(__file__).parent / "pictures"
folder.mkdir(exist_ok=True)
picture = Image.new("RGB", (24, 16), (250, 20, 30))
picture.paste((20, 60, 240), (16, 0, 24, 16))
picture.save(folder / "colour.jpg", quality=95)
picture.convert("L").save(folder / "grey.jpg", quality=95)

# One picture as eight cameras would hold it: upright it is the same. As PNG with EXIF's data, JPEG and WebP.
upright = Image.new("RGB", (3, 2))
upright.putdata([(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0), (50, 0, 0), (60, 0, 0)])
back = [None, Image.FLIP_LEFT_RIGHT, Image.ROTATE_180, Image.FLIP_TOP_BOTTOM, Image.TRANSPOSE, Image.ROTATE_90,
        Image.TRANSVERSE, Image.ROTATE_270]
for orientation, way in enumerate(back, 1):
    stored = upright if way is None else upright.transpose(way)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(folder / f"exif-{orientation}.png", exif=exif)
    with Image.open(folder / f"exif-{orientation}.png") as found:
        assert list(ImageOps.exif_transpose(found).getdata()) == list(upright.getdata()), orientation
exif = Image.Exif()
exif[0x0112] = 6
picture.transpose(Image.ROTATE_90).save(folder / "exif.jpg", quality=95, exif=exif)
picture.transpose(Image.ROTATE_90).save(folder / "exif.webp", lossless=True, exif=exif)
clear = picture.convert("RGBA")
clear.putalpha(77)
clear.save(folder / "alpha.webp", lossless=True)
whole = (folder / "colour.jpg").read_bytes()
(folder / "half.jpg").write_bytes(whole[:-8])
