//! Layouts: sizes, refusals, and every format's bytes.

use super::*;
use crate::error::Code;

fn layout(format: Format) -> Layout {
    Layout { format, ..Layout::default() }
}

/// A byte that nothing here writes.
const UNTOUCHED: u8 = 77;

fn written(values: &[f32], shape: [usize; 4], layout: &Layout) -> Vec<u8> {
    let mut out = vec![UNTOUCHED; layout.output_size(shape).unwrap() as usize];
    write(values, shape, layout, &mut out).unwrap();
    out
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()
}

/// The value that becomes `byte`.
fn of(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

#[test]
fn formats_have_the_interfaces_numbers() {
    for (i, format) in
        [Format::F32Nchw, Format::F32Nhwc, Format::Rgb8, Format::Rgba8, Format::Bgra8].into_iter().enumerate()
    {
        assert_eq!((Format::from_i32(i as i32).unwrap(), format as i32), (format, i as i32));
    }
    for value in [-1, 5, i32::MIN, i32::MAX] {
        assert_eq!(Format::from_i32(value).unwrap_err().code(), Code::InvalidArgument);
    }
}

#[test]
fn sizes_end_with_the_last_byte_written() {
    let size = |layout: Layout| layout.output_size([2, 3, 5, 7]).unwrap();
    assert_eq!(size(layout(Format::F32Nchw)), 2 * 3 * 5 * 7 * 4);
    assert_eq!(size(layout(Format::F32Nhwc)), 2 * 3 * 5 * 7 * 4);
    assert_eq!(size(layout(Format::Rgb8)), 2 * 5 * 21);
    assert_eq!(size(layout(Format::Bgra8)), 2 * 5 * 28);
    // Padded rows: images follow each other at a whole number of rows, the last row is not padded.
    assert_eq!(size(Layout { row_stride: 24, ..layout(Format::Rgb8) }), 9 * 24 + 21);
    assert_eq!(size(Layout { row_stride: 32, ..layout(Format::F32Nchw) }), 29 * 32 + 28);
    assert_eq!(size(Layout { plane_stride: 144, ..layout(Format::F32Nchw) }), 5 * 144 + 140);
    assert_eq!(size(Layout { image_stride: 424, ..layout(Format::F32Nchw) }), 424 + 420);
    // An image's stride may leave out its last row's padding.
    assert_eq!(size(Layout { row_stride: 24, image_stride: 117, ..layout(Format::Rgb8) }), 117 + 117);
}

#[test]
fn refusals_name_the_field() {
    let refuse = |layout: Layout, shape: [usize; 4]| {
        let error = layout.output_size(shape).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        error.to_string()
    };
    let shape = [2, 3, 5, 7];
    let short = refuse(Layout { row_stride: 20, ..layout(Format::Rgb8) }, shape);
    assert_eq!(short, "row_stride: 20 bytes, at least 21 are needed");
    let odd = refuse(Layout { row_stride: 30, ..layout(Format::F32Nchw) }, shape);
    assert_eq!(odd, "row_stride: 30 bytes, a multiple of 4 is needed for floats");
    let short = refuse(Layout { plane_stride: 136, ..layout(Format::F32Nchw) }, shape);
    assert_eq!(short, "plane_stride: 136 bytes, at least 140 are needed");
    for format in [Format::F32Nhwc, Format::Rgba8] {
        assert!(refuse(Layout { plane_stride: 400, ..layout(format) }, shape).starts_with("plane_stride: "));
    }
    let short = refuse(Layout { image_stride: 104, ..layout(Format::Rgb8) }, shape);
    assert_eq!(short, "image_stride: 104 bytes, at least 105 are needed");
    assert!(refuse(Layout { image_stride: 423, ..layout(Format::F32Nchw) }, shape).contains("multiple of 4"));
    for c in [2, 5, 1000] {
        assert!(refuse(layout(Format::Rgb8), [1, c, 2, 2]).starts_with("format: Rgb8 of "));
        layout(Format::F32Nhwc).output_size([1, c, 2, 2]).unwrap();
    }
    for i in 0..4 {
        let mut empty = shape;
        empty[i] = 0;
        assert!(refuse(layout(Format::F32Nchw), empty).starts_with("shape: "));
    }
    for format in [Format::F32Nchw, Format::F32Nhwc, Format::Rgb8] {
        for i in (0..4).filter(|&i| format != Format::Rgb8 || i != 1) {
            let mut huge = shape;
            huge[i] = usize::MAX;
            assert!(refuse(layout(format), huge).starts_with("layout: "), "{format:?} {i}");
        }
        let strided = Layout { row_stride: u64::MAX - 3, ..layout(format) };
        assert!(refuse(strided, shape).starts_with("layout: "));
        let strided = Layout { image_stride: u64::MAX - 3, ..layout(format) };
        assert!(refuse(strided, shape).starts_with("layout: "));
    }
}

#[test]
fn a_short_buffer_is_not_touched() {
    let mut out = [UNTOUCHED; 12];
    let error = write(&[0.0; 12], [1, 3, 2, 2], &layout(Format::Rgba8), &mut out).unwrap_err();
    assert!(matches!(error, Error::BufferTooSmall { argument: "out", expected: 16, found: 12 }));
    let error = write(&[0.0; 11], [1, 3, 2, 2], &layout(Format::Rgb8), &mut out).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(out, [UNTOUCHED; 12]);
}

#[test]
fn bytes_are_clamped_and_rounded_to_nearest() {
    for byte in 0..=255 {
        assert_eq!(to_byte(of(byte)), byte);
        assert_eq!(to_byte(of(byte) + 0.49 / 127.5), byte);
        assert_eq!(to_byte(of(byte) - 0.49 / 127.5), byte);
    }
    assert_eq!([-1.0, 0.0, 1.0, -7.0, 7.0].map(to_byte), [0, 128, 255, 0, 255]);
    for i in -20_000..20_000 {
        let x = i as f32 / 19_999.0;
        assert_eq!(to_byte(x), ((x.clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5) as u8, "{x}");
    }
    let extremes = [f32::NAN, -f32::NAN, f32::NEG_INFINITY, f32::INFINITY, f32::MIN, f32::MAX];
    assert_eq!(extremes.map(to_byte), [0, 0, 0, 255, 0, 255]);
}

#[test]
fn floats_are_as_the_network_gave_them() {
    // (2, 2, 2, 2)
    let values: Vec<f32> = (0..16).map(|i| i as f32 - 7.5).collect();
    assert_eq!(floats(&written(&values, [2, 2, 2, 2], &layout(Format::F32Nchw))), values);
    let nhwc = floats(&written(&values, [2, 2, 2, 2], &layout(Format::F32Nhwc)));
    let order = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];
    assert_eq!(nhwc, order.map(|i| values[i]));
    let unit = Layout { unit_range: true, ..layout(Format::F32Nchw) };
    assert_eq!(floats(&written(&[-1.0, 0.0, 1.0, 3.0], [1, 1, 2, 2], &unit)), [0.0, 0.5, 1.0, 2.0]);
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let special = [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 2.0];
    assert_eq!(bits(&floats(&written(&special, [1, 1, 2, 2], &layout(Format::F32Nchw)))), bits(&special));
    assert!(floats(&written(&[f32::NAN], [1, 1, 1, 1], &layout(Format::F32Nhwc)))[0].is_nan());
}

#[test]
fn pixels_have_their_order_and_alpha() {
    // Two pixels; red 1 2, green 3 4, blue 5 6, alpha 7 8.
    let values = [1, 2, 3, 4, 5, 6, 7, 8].map(of);
    let run = |c: usize, format| written(&values[..2 * c], [1, c, 1, 2], &layout(format));
    assert_eq!(run(3, Format::Rgb8), [1, 3, 5, 2, 4, 6]);
    assert_eq!(run(3, Format::Rgba8), [1, 3, 5, 255, 2, 4, 6, 255]);
    assert_eq!(run(3, Format::Bgra8), [5, 3, 1, 255, 6, 4, 2, 255]);
    assert_eq!(run(4, Format::Rgb8), [1, 3, 5, 2, 4, 6]);
    assert_eq!(run(4, Format::Rgba8), [1, 3, 5, 7, 2, 4, 6, 8]);
    assert_eq!(run(4, Format::Bgra8), [5, 3, 1, 7, 6, 4, 2, 8]);
    assert_eq!(run(1, Format::Rgb8), [1, 1, 1, 2, 2, 2]);
    assert_eq!(run(1, Format::Bgra8), [1, 1, 1, 255, 2, 2, 2, 255]);
}

#[test]
fn colours_can_be_multiplied_by_alpha() {
    // Two pixels; red 200 1, green 100 2, blue 3 255, alpha 128 0.
    let values = [200, 1, 100, 2, 3, 255, 128, 0].map(of);
    let run = |c: usize, format| {
        let premultiplied = Layout { premultiplied: true, ..layout(format) };
        written(&values[..2 * c], [1, c, 1, 2], &premultiplied)
    };
    assert_eq!(run(4, Format::Rgba8), [100, 50, 2, 128, 0, 0, 0, 0]);
    assert_eq!(run(4, Format::Bgra8), [2, 50, 100, 128, 0, 0, 0, 0]);
    assert_eq!(run(3, Format::Rgba8), [200, 100, 3, 255, 1, 2, 255, 255]);
    assert_eq!(run(4, Format::Rgb8), [200, 100, 3, 1, 2, 255]);
    assert_eq!(floats(&run(4, Format::F32Nchw)), values);
    for (value, alpha) in (0..=255).flat_map(|value| (0..=255).map(move |alpha| (value, alpha))) {
        let exact = f64::from(value) * f64::from(alpha) / 255.0;
        assert_eq!(premultiplied(value, alpha), (exact + 0.5).floor() as u8);
    }
}

#[test]
fn padding_is_left_alone_and_rows_can_be_flipped() {
    let values: Vec<f32> = (0..8).map(of).collect();
    let strided = Layout { row_stride: 7, image_stride: 15, flip_y: true, ..layout(Format::Rgb8) };
    let u = UNTOUCHED;
    let expected = [
        2, 2, 2, 3, 3, 3, u, 0, 0, 0, 1, 1, 1, u, u, //
        6, 6, 6, 7, 7, 7, u, 4, 4, 4, 5, 5, 5,
    ];
    assert_eq!(written(&values, [2, 1, 2, 2], &strided), expected);

    let strided = Layout { row_stride: 12, plane_stride: 28, flip_y: true, ..layout(Format::F32Nchw) };
    let out = written(&values, [1, 2, 2, 2], &strided);
    let gap = f32::from_ne_bytes([u; 4]);
    let expected: Vec<f32> = [2, 3, 99, 0, 1, 99, 99, 6, 7, 99, 4, 5]
        .iter()
        .map(|&i| if i == 99 { gap } else { values[i] })
        .collect();
    assert_eq!(floats(&out), expected);
}

#[test]
fn images_side_by_side_are_one_picture() {
    // Three images of 2 x 2 in a picture of 6 x 2.
    let values: Vec<f32> = (0..12).map(of).collect();
    let picture = Layout { row_stride: 18, image_stride: 6, ..layout(Format::Rgb8) };
    let out = written(&values, [3, 1, 2, 2], &picture);
    let grey: Vec<u8> = out.chunks(3).map(|pixel| pixel[0]).collect();
    assert_eq!(grey, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
    let planes = Layout { row_stride: 24, plane_stride: 48, image_stride: 8, ..layout(Format::F32Nchw) };
    let out = floats(&written(&values, [3, 2, 1, 2], &planes));
    assert_eq!(out[..6], [0, 1, 4, 5, 8, 9].map(|i| values[i]));
    assert_eq!(out[12..], [2, 3, 6, 7, 10, 11].map(|i| values[i]));

    let narrow = Layout { row_stride: 17, ..picture };
    let told = narrow.output_size([3, 1, 2, 2]).unwrap_err().to_string();
    assert_eq!(told, "row_stride: 17 bytes, at least 18 are needed");
    let crossing = Layout { image_stride: 5, ..picture };
    let told = crossing.output_size([3, 1, 2, 2]).unwrap_err().to_string();
    assert_eq!(told, "image_stride: 5 bytes, at least 6 are needed");
}

#[test]
fn what_a_size_promises_is_what_is_written() {
    // Every layout: all bytes but the padding are written, and the last one is.
    for format in [Format::F32Nchw, Format::F32Nhwc, Format::Rgb8, Format::Rgba8] {
        for pad in [0, 4] {
            let shape = [2, 3, 3, 5];
            let tight = if format == Format::F32Nchw { 20 } else { 5 * [0, 12, 3, 4][format as usize] };
            let layout = Layout { row_stride: tight + pad, ..layout(format) };
            let out = written(&[1.0; 90], shape, &layout);
            let rows = out.chunks((tight + pad) as usize);
            assert!(rows.clone().all(|row| row[..tight as usize].iter().all(|&b| b != UNTOUCHED)));
            assert!(rows.clone().all(|row| row[tight as usize..].iter().all(|&b| b == UNTOUCHED)));
            assert_eq!(rows.last().unwrap().len() as u64, tight);
        }
    }
}

#[test]
fn long_rows_are_converted_whole() {
    let shape = [1, 3, 2, 150];
    let values: Vec<f32> = (0..900).map(|i| of((i % 251) as u8)).collect();
    for (format, order) in [(Format::Rgb8, [0, 1, 2]), (Format::Bgra8, [2, 1, 0])] {
        let out = written(&values, shape, &layout(format));
        for (i, pixel) in out.chunks(out.len() / 300).enumerate() {
            for (channel, &byte) in order.iter().zip(pixel) {
                assert_eq!(usize::from(byte), (channel * 300 + i) % 251, "{format:?} pixel {i}");
            }
        }
    }
}

#[test]
fn sheets_have_rows_and_columns_of_images() {
    // Five images of 2 x 1 on a sheet of two a row, upside down: 6 bytes each, in rows of 12.
    let values: Vec<f32> = (0..10).map(of).collect();
    let sheet = Layout { columns: 2, flip_y: true, ..layout(Format::Rgb8) };
    let out = written(&values, [5, 1, 1, 2], &sheet);
    let grey: Vec<u8> = out.chunks(3).map(|pixel| pixel[0]).collect();
    assert_eq!(grey, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let out = written(&values[..8], [4, 1, 2, 1], &sheet);
    let grey: Vec<u8> = out.chunks(3).map(|pixel| pixel[0]).collect();
    assert_eq!(grey, [1, 3, 0, 2, 5, 7, 4, 6]);

    let size = |layout: Layout, n| layout.output_size([n, 3, 5, 7]).unwrap();
    assert_eq!(size(sheet, 5), 2 * 5 * 42 + 4 * 42 + 21);
    assert_eq!(size(sheet, 6), 3 * 5 * 42);
    // The sheet is as wide as its columns, whether there are as many images or not.
    assert_eq!(size(Layout { columns: 100, ..sheet }, 2), 4 * 2100 + 42);
    // One column is what none is.
    for columns in [0, 1] {
        assert_eq!(size(Layout { columns, ..layout(Format::F32Nchw) }, 3), 3 * 420);
    }
    // Each row of images has planes of its own, or the sheet has them.
    let planes = Layout { columns: 2, ..layout(Format::F32Nchw) };
    assert_eq!(size(planes, 4), 2 * 3 * 5 * 56);
    let whole = Layout { plane_stride: 2 * 5 * 56, image_stride: 5 * 56, ..planes };
    assert_eq!(size(whole, 4), 2 * 3 * 5 * 56);
    let out = floats(&written(&Vec::from_iter((0..8).map(|i| i as f32)), [4, 2, 1, 1], &{
        Layout { plane_stride: 16, image_stride: 8, ..planes }
    }));
    assert_eq!(out, [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    // Column by column: the furthest byte is not the last image's.
    let turned =
        Layout { columns: 2, column_stride: 3 * 5 * 21, image_stride: 5 * 21, row_stride: 21, ..sheet };
    assert_eq!(size(turned, 5), 5 * 5 * 21);
    assert_eq!(size(turned, 4), 3 * 5 * 21 + 2 * 5 * 21);
}

#[test]
fn sheets_that_overlap_or_leave_64_bits_are_refused() {
    let refuse = |layout: Layout| {
        let error = layout.output_size([6, 3, 5, 7]).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        error.to_string()
    };
    let sheet = Layout { columns: 3, ..layout(Format::Rgb8) };
    assert_eq!(
        refuse(Layout { column_stride: 20, ..sheet }),
        "column_stride: 20 bytes, at least 21 are needed"
    );
    assert_eq!(refuse(Layout { row_stride: 62, ..sheet }), "row_stride: 62 bytes, at least 63 are needed");
    assert_eq!(
        refuse(Layout { image_stride: 314, ..sheet }),
        "image_stride: 314 bytes, at least 315 are needed"
    );
    let without = Layout { columns: 0, column_stride: 21, ..sheet };
    assert_eq!(refuse(without), "column_stride: 21 given, columns is 0: 0 expected");
    let floats = Layout { column_stride: 30, ..Layout { columns: 3, ..layout(Format::F32Nchw) } };
    assert_eq!(refuse(floats), "column_stride: 30 bytes, a multiple of 4 is needed for floats");
    for huge in [u64::MAX, u64::MAX / 2, 1 << 63] {
        assert!(refuse(Layout { columns: huge, ..sheet }).starts_with("layout: "));
        assert!(refuse(Layout { column_stride: huge, ..sheet }).starts_with("layout: "));
        assert!(refuse(Layout { column_stride: huge, row_stride: 21, ..sheet }).starts_with("layout: "));
    }
    // A stride that nothing steps over is not looked at.
    Layout { column_stride: 1, row_stride: 21, ..sheet }.output_size([1, 3, 5, 7]).unwrap();
}

/// Random layouts beside a plain loop over every value.
#[test]
fn every_layout_is_a_plain_loop() {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut sheets = 0;
    for round in 0..4000 {
        let format = Format::from_i32(random(5) as i32).unwrap();
        let channels = [1, 3, 4][random(3) as usize];
        let shape = [1 + random(9), channels, 1 + random(4), 1 + random(5)].map(|size| size as usize);
        let [n, c, h, w] = shape;
        // One of the orders in which strides can nest, from the inside out, each with or without padding.
        let pixel = [4, 4 * c, 3, 4, 4][format as usize] as u64;
        let planes = if format == Format::F32Nchw { c as u64 } else { 1 };
        let columns = random(n as u64 + 3);
        let (across, down) = (columns.max(1).min(n as u64), (n as u64).div_ceil(columns.max(1)));
        let mut axes = [(0, h as u64), (1, planes), (2, down), (3, across)];
        for i in (1..4).rev() {
            axes.swap(i, random(i as u64 + 1) as usize);
        }
        let (mut strides, mut reach) = ([0; 4], pixel * w as u64);
        for (axis, count) in axes {
            strides[axis] = reach + 4 * random(3);
            reach += (count - 1) * strides[axis];
            reach = if format == Format::Rgb8 { reach } else { reach.next_multiple_of(4) };
        }
        let [row, plane, image, column] = strides;
        let drawn = Layout {
            format,
            flip_y: random(2) == 1,
            unit_range: random(2) == 1,
            premultiplied: random(2) == 1,
            row_stride: row,
            plane_stride: if format == Format::F32Nchw { plane } else { 0 },
            image_stride: image,
            columns,
            column_stride: if columns == 0 { 0 } else { column },
        };
        let values: Vec<f32> = (0..n * c * h * w).map(|_| random(4096) as f32 / 1024.0 - 2.0).collect();
        let mut expected = vec![UNTOUCHED; reach as usize];
        let mut end = 0;
        for (i, y, x) in (0..n).flat_map(|i| (0..h).flat_map(move |y| (0..w).map(move |x| (i, y, x)))) {
            let (sheet_row, sheet_column) = (i as u64 / columns.max(1), i as u64 % columns.max(1));
            let line = if drawn.flip_y { h - 1 - y } else { y } as u64;
            let place = sheet_row * image + sheet_column * column + line * row + x as u64 * pixel;
            let value = |channel: usize| values[((i * c + channel) * h + y) * w + x];
            let mut put = |at: u64, bytes: &[u8]| {
                expected[at as usize..][..bytes.len()].copy_from_slice(bytes);
                end = end.max(at as usize + bytes.len());
            };
            let float =
                |channel| if drawn.unit_range { (value(channel) + 1.0) * 0.5 } else { value(channel) };
            match format {
                Format::F32Nchw => {
                    (0..c).for_each(|k| put(place + k as u64 * plane, &float(k).to_ne_bytes()));
                }
                Format::F32Nhwc => (0..c).for_each(|k| put(place + 4 * k as u64, &float(k).to_ne_bytes())),
                _ => {
                    let alpha = if c == 4 { to_byte(value(3)) } else { 255 };
                    let colour = |k: usize| {
                        let byte = to_byte(value(if c == 1 { 0 } else { k }));
                        if drawn.premultiplied && pixel == 4 { premultiplied(byte, alpha) } else { byte }
                    };
                    let [r, g, b] = [0, 1, 2].map(colour);
                    let all = if format == Format::Bgra8 { [b, g, r, alpha] } else { [r, g, b, alpha] };
                    put(place, &all[..pixel as usize]);
                }
            }
        }
        expected.truncate(end);
        sheets += u32::from(across > 1 && down > 1);
        assert!(written(&values, shape, &drawn) == expected, "round {round}: {shape:?} {drawn:?}");

        #[cfg(feature = "cuda")]
        {
            // The same from finished lines, as a device hands them over.
            let tight = Layout { premultiplied: false, flip_y: false, ..drawn };
            let tight = Layout {
                row_stride: 0,
                plane_stride: 0,
                image_stride: 0,
                columns: 0,
                column_stride: 0,
                ..tight
            };
            let finished = written(&values, shape, &tight);
            let mut out = vec![UNTOUCHED; end];
            let mut lines = Lines::new(shape, &drawn, &mut out).unwrap();
            assert_eq!(lines.count() * lines.line_bytes(), finished.len());
            lines.put(&finished);
            assert!(out == expected, "round {round}: {shape:?} {drawn:?}");
        }
    }
    assert!(sheets > 500, "{sheets} sheets of several rows and columns");
}
