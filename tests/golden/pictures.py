"""Makes tests/golden/pictures: JPEG files in colour and in grey, by Pillow. `python3 tests/golden/pictures.py`."""

from pathlib import Path

from PIL import Image

folder = Path(__file__).parent / "pictures"
folder.mkdir(exist_ok=True)
picture = Image.new("RGB", (24, 16), (250, 20, 30))
picture.paste((20, 60, 240), (16, 0, 24, 16))
picture.save(folder / "colour.jpg", quality=95)
picture.convert("L").save(folder / "grey.jpg", quality=95)
