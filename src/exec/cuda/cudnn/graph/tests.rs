//! Descriptions against `recorded.txt`, whose numbers were written down apart from this code.

use super::super::shape::Taps;
use super::super::sys::attribute as at;
use super::*;

#[test]
fn descriptions_are_as_recorded() {
    let mut cases = 0;
    for case in include_str!("recorded.txt").split("\n\n").filter(|case| case.contains("conv batch")) {
        let mut lines = case.lines().filter(|line| !line.starts_with('#'));
        let first = lines.next().unwrap();
        let shape = shape(first);
        shape.check().unwrap();
        let graph = Graph::new(&shape);
        let (operations, tensors): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.trim_start().starts_with('='));
        let mut expected: Vec<String> = tensors.iter().map(|line| recorded_tensor(line)).collect();
        let mut found: Vec<String> =
            graph.nodes.iter().filter(|node| node.kind == kind::TENSOR).map(found_tensor).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{first}");
        let found: Vec<String> = graph.operations.iter().map(|&place| operation(&graph, place)).collect();
        assert_eq!(found.join(", "), operations[0].trim().trim_start_matches("= "), "{first}");
        let addressed = expected.iter().filter(|tensor| !tensor.ends_with("virtual")).count();
        assert_eq!(graph.uids.len(), addressed, "{first}");
        cases += 1;
    }
    assert_eq!(cases, 14);
}

#[test]
fn convolutions_have_their_strides_and_padding() {
    let mut shape = shape(
        "conv batch=2 size=8x6 channels=16->32 taps=3 stride=2 pad=0+1 element=f16 bias=none residual=no scale=1",
    );
    let settings = |shape: &ConvShape| {
        let graph = Graph::new(shape);
        graph.nodes.iter().find(|node| node.kind == kind::CONVOLUTION).unwrap().settings.clone()
    };
    assert_eq!(shape.output(), (4, 3));
    let found = settings(&shape);
    for (name, expected) in [
        (at::CONVOLUTION_STRIDES, vec![2, 2]),
        (at::CONVOLUTION_PAD_BEFORE, vec![0, 0]),
        (at::CONVOLUTION_PAD_AFTER, vec![1, 1]),
        (at::CONVOLUTION_DILATIONS, vec![1, 1]),
        (at::CONVOLUTION_SPATIAL_DIMS, vec![2]),
    ] {
        assert!(found.contains(&(name, Setting::Int64(expected))), "{name}: {found:?}");
    }
    shape.pad_before = 1;
    shape.stride = 1;
    assert_eq!(shape.output(), (8, 6));
    assert!(settings(&shape).contains(&(at::CONVOLUTION_STRIDES, Setting::Int64(vec![1, 1]))));
}

#[test]
fn impossible_shapes_are_refused() {
    let good = shape(
        "conv batch=1 size=2x2 channels=8->8 taps=3 stride=1 pad=1+1 element=f32 bias=image:8 residual=no scale=1",
    );
    good.check().unwrap();
    for bad in [
        ConvShape { batch: 0, ..good },
        ConvShape { stride: 0, ..good },
        ConvShape { pad_before: 0, pad_after: 0, ..good },
        ConvShape { bias: Bias::PerImage { stride: 4 }, ..good },
        ConvShape { bias: Bias::PerImage { stride: 9 }, ..good },
        ConvShape { scale: f32::NAN, ..good },
    ] {
        assert!(bad.check().is_err(), "{bad}");
    }
}

pub(in super::super) fn recorded_shapes() -> Vec<ConvShape> {
    include_str!("recorded.txt").lines().filter(|line| line.starts_with("conv ")).map(shape).collect()
}

/// A recorded case's first line.
fn shape(line: &str) -> ConvShape {
    let field = |name: &str| {
        let fields = line.split_whitespace().filter_map(|word| word.split_once('='));
        fields.clone().find(|(key, _)| *key == name).unwrap_or_else(|| panic!("{name}: {line}")).1
    };
    let pair = |name: &str, separator: &str| -> (usize, usize) {
        let (first, second) = field(name).split_once(separator).unwrap();
        (first.parse().unwrap(), second.parse().unwrap())
    };
    let element = |name: &str| match name {
        "f32" => Element::F32,
        "f16" => Element::F16,
        "bf16" => Element::Bf16,
        other => panic!("{other}"),
    };
    let bias = match field("bias").split_once(':') {
        None => Bias::None,
        Some(("shared", name)) => Bias::Shared(element(name)),
        Some((_, stride)) => Bias::PerImage { stride: stride.parse().unwrap() },
    };
    let (height, width) = pair("size", "x");
    let (c_in, c_out) = pair("channels", "->");
    let (pad_before, pad_after) = pair("pad", "+");
    ConvShape {
        batch: field("batch").parse().unwrap(),
        height,
        width,
        c_in,
        c_out,
        taps: if field("taps") == "1" { Taps::One } else { Taps::Three },
        stride: field("stride").parse().unwrap(),
        pad_before,
        pad_after,
        element: element(field("element")),
        bias,
        residual: field("residual") == "yes",
        scale: field("scale").parse().unwrap(),
    }
}

/// `7 | f32 | 1, 2 | 3*4, 1 | 16 | device`, the products multiplied out.
fn recorded_tensor(line: &str) -> String {
    let product =
        |text: &str| -> i64 { text.split('*').map(|factor| factor.trim().parse::<i64>().unwrap()).product() };
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let numbers = |text: &str| text.split(',').map(product).collect::<Vec<i64>>();
    format!(
        "{} | {} | {:?} | {:?} | {} | {}",
        columns[0],
        columns[1],
        numbers(columns[2]),
        numbers(columns[3]),
        columns[4],
        columns[5]
    )
}

fn found_tensor(node: &Node) -> String {
    let setting =
        |name: i32| node.settings.iter().find(|(found, _)| *found == name).map(|(_, setting)| setting);
    let numbers = |name: i32| match setting(name) {
        Some(Setting::Int64(values)) => values.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let data_type = match setting(at::TENSOR_DATA_TYPE) {
        Some(Setting::Enum(1, 0)) => "f32",
        Some(Setting::Enum(1, 2)) => "f16",
        Some(Setting::Enum(1, 9)) => "bf16",
        other => panic!("{other:?}"),
    };
    let place = match (setting(at::TENSOR_IS_BY_VALUE), setting(at::TENSOR_IS_VIRTUAL)) {
        (None, None) => "device",
        (Some(Setting::Boolean(true)), None) => "host",
        (None, Some(Setting::Boolean(true))) => "virtual",
        other => panic!("{other:?}"),
    };
    format!(
        "{} | {data_type} | {:?} | {:?} | {} | {place}",
        numbers(at::TENSOR_UID)[0],
        numbers(at::TENSOR_DIMENSIONS),
        numbers(at::TENSOR_STRIDES),
        numbers(at::TENSOR_ALIGNMENT)[0]
    )
}

/// `conv 1 2 6` or `add 101 3 6`: the tensors' numbers, the result's last.
fn operation(graph: &Graph, place: usize) -> String {
    let node = |name: i32| {
        let settings = &graph.nodes[place].settings;
        match settings.iter().find(|(found, _)| *found == name) {
            Some((_, Setting::Nodes(places))) => &graph.nodes[places[0]],
            other => panic!("{name}: {other:?}"),
        }
    };
    let number = |name: i32| match &node(name).settings[0] {
        (at::TENSOR_UID, Setting::Int64(uid)) => uid[0],
        other => panic!("{other:?}"),
    };
    let (verb, tensors) = if graph.nodes[place].kind == kind::CONVOLUTION_FORWARD {
        ("conv", [at::FORWARD_X, at::FORWARD_W, at::FORWARD_Y])
    } else {
        let mode = &node(at::OPERATION_POINTWISE).settings[0];
        let verb = if *mode == (0, Setting::Enum(14, 0)) { "add" } else { "mul" };
        (verb, [at::OPERATION_X, at::OPERATION_B, at::OPERATION_Y])
    };
    let [first, second, result] = tensors.map(number);
    format!("{verb} {first} {second} {result}")
}
