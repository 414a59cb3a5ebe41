// Draws portraits of 16 x 16 pixels with transparency to learn from, one PNG each, in a folder a kind:
// `npm install && node draw.mjs FOLDER FIRST COUNT`. Portrait i has the seed `portrait i` and kind i % 8, so ranges of numbers that do
// not overlap are sets that do not either. The design is DiceBear's "Pixel Art", CC0 1.0 (npm: @dicebear/pixel-art).

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createAvatar } from '@dicebear/core';
import * as pixelArt from '@dicebear/pixel-art';
import { Resvg } from '@resvg/resvg-js';

const styles = pixelArt.schema.properties;
const short = styles.hair.default.filter((name) => name.startsWith('short'));
const long = styles.hair.default.filter((name) => name.startsWith('long'));

/** The kinds in the order of their folders' names, which is the order of a model's classes. */
const kinds = [
    ['0-short-hair', { hair: short }],
    ['1-long-hair', { hair: long }],
    ['2-short-hair-glasses', { hair: short, glasses: true }],
    ['3-long-hair-glasses', { hair: long, glasses: true }],
    ['4-short-hair-hat', { hair: short, hat: true }],
    ['5-long-hair-hat', { hair: long, hat: true }],
    ['6-beard', { hair: short, beard: true }],
    ['7-beard-hat', { hair: short, beard: true, hat: true }],
];

const [folder, first, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
for (const [name] of kinds) mkdirSync(join(folder, name), { recursive: true });
for (let i = first; i < first + count; i++) {
    const [name, { hair, glasses, hat, beard }] = kinds[i % kinds.length];
    const portrait = createAvatar(pixelArt, {
        seed: `portrait ${i}`,
        hair,
        glassesProbability: glasses ? 100 : 0,
        hatProbability: hat ? 100 : 0,
        beardProbability: beard ? 100 : 0,
    });
    const png = new Resvg(portrait.toString(), { fitTo: { mode: 'width', value: 16 } }).render().asPng();
    writeFileSync(join(folder, name, `${String(i).padStart(6, '0')}.png`), png);
}
