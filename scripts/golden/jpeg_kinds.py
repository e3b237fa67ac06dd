"""Writes crates/data/tests/it/golden/{cmyk,progressive,restarts,subsampled}.jpg: JPEG files that the Rust encoder cannot
write.

Needs: pip install pillow. Run from the repository root: python scripts/golden/jpeg_kinds.py

Each shows four flat quarters of 16 x 16 pixels, and the grey values that PIL reads from them are printed: they are the
expected ones of crates/data/tests/it/picture_kinds.rs.
"""

from pathlib import Path

from PIL import Image

OUT = Path("crates/data/tests/it/golden")
SIDE = 32


def quarters(mode, colours):
    """An image of four flat quarters: top left, top right, bottom left, bottom right."""
    image = Image.new(mode, (SIDE, SIDE))
    for i, colour in enumerate(colours):
        x, y = i % 2 * SIDE // 2, i // 2 * SIDE // 2
        image.paste(colour, (x, y, x + SIDE // 2, y + SIDE // 2))
    return image


def main():
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 128, 0, 64), (0, 0, 0, 255)]
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 120, 200)]
    greys = [20, 80, 140, 230]
    cases = [
        ("cmyk", quarters("CMYK", inks), {}),
        ("progressive", quarters("L", greys), {"progressive": True}),
        ("restarts", quarters("RGB", colours), {"subsampling": 2, "restart_marker_blocks": 1}),
        ("subsampled", quarters("RGB", colours), {"subsampling": 2}),
    ]
    for name, image, options in cases:
        path = OUT / f"{name}.jpg"
        image.save(path, "JPEG", quality=95, **options)
        grey = Image.open(path).convert("RGB").convert("L")
        far = SIDE - 1
        corners = [grey.getpixel(at) for at in ((0, 0), (far, 0), (0, far), (far, far))]
        mean = sum(grey.tobytes()) / SIDE**2
        print(f"{name}: mean {mean:.2f}, corners {corners}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
