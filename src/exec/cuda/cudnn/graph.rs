//! The operation graph of one convolution as plain data: which descriptors, with which attributes. Nothing here calls
//! cuDNN.

use super::shape::{Bias, ConvShape};
use super::sys::{CROSS_CORRELATION, POINTWISE_ADD, POINTWISE_MUL, attribute as at, data_type, kind, tag};
use crate::exec::cuda::kernels::Element;

/// Tensors that have an address, by the number under which it is given.
pub(super) mod uid {
    pub const X: i64 = 1;
    pub const W: i64 = 2;
    pub const BIAS: i64 = 3;
    pub const RESIDUAL: i64 = 4;
    pub const SCALE: i64 = 5;
    pub const Y: i64 = 6;
    /// The first of those that exist in registers alone.
    pub const VIRTUAL: i64 = 101;
}

/// What every address is a multiple of, in bytes: a vector load of 8 halves.
const ALIGNMENT: i64 = 16;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    /// One of cuDNN's enumerations, with its tag.
    Enum(i32, i32),
    Int64(Vec<i64>),
    Float(f32),
    Boolean(bool),
    /// Descriptors, by their places in the list.
    Nodes(Vec<usize>),
}

/// A descriptor to make. Those that it names stand before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub kind: i32,
    pub settings: Vec<(i32, Setting)>,
}

/// All descriptors of a convolution; `operations` go into the graph, in this order.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub operations: Vec<usize>,
    /// Of the tensors that need an address, in order.
    pub uids: Vec<i64>,
}

impl Graph {
    /// conv, then the residual, the bias and the factor, as far as `shape` has them.
    ///
    /// The residual goes first: cuDNN's ready-made kernels know this order alone, the compiled ones know both.
    pub fn new(shape: &ConvShape) -> Self {
        let mut graph = Self::default();
        let element = data_type(shape.element);
        let (height, width) = shape.output();
        let side = shape.taps.side();
        let y_dims = [shape.batch, shape.c_out, height, width];
        let x = graph.stored(uid::X, element, [shape.batch, shape.c_in, shape.height, shape.width]);
        let w = graph.stored(uid::W, element, [shape.c_out, shape.c_in, side, side]);

        let mut steps = Vec::new();
        if shape.residual {
            steps.push((POINTWISE_ADD, graph.stored(uid::RESIDUAL, element, y_dims)));
        }
        match shape.bias {
            Bias::None => {}
            Bias::Shared(element) => {
                let dims = [1, shape.c_out, 1, 1];
                steps.push((POINTWISE_ADD, graph.stored(uid::BIAS, data_type(element), dims)));
            }
            Bias::PerImage { stride } => {
                let dims = [shape.batch, shape.c_out, 1, 1];
                let strides = [stride, 1, stride, stride];
                let bias = graph.tensor(uid::BIAS, data_type::F32, dims, strides, Place::Device);
                steps.push((POINTWISE_ADD, bias));
            }
        }
        if shape.scale != 1.0 {
            let one = [1; 4];
            let scale = graph.tensor(uid::SCALE, data_type::F32, one, one, Place::Host);
            steps.push((POINTWISE_MUL, scale));
        }

        // Every result but the last stays in registers, in f32.
        let mut results: Vec<usize> = (uid::VIRTUAL..)
            .take(steps.len())
            .map(|uid| graph.tensor(uid, data_type::F32, y_dims, channels_last(y_dims), Place::Virtual))
            .collect();
        results.push(graph.stored(uid::Y, element, y_dims));

        graph.convolution(shape, x, w, results[0]);
        for (step, (mode, operand)) in steps.into_iter().enumerate() {
            graph.pointwise(mode, results[step], operand, results[step + 1]);
        }
        graph
    }

    fn convolution(&mut self, shape: &ConvShape, x: usize, w: usize, y: usize) {
        let both = |value: usize| Setting::Int64(vec![value as i64; 2]);
        let convolution = self.push(
            kind::CONVOLUTION,
            vec![
                (at::CONVOLUTION_COMPUTE, Setting::Enum(tag::DATA_TYPE, data_type::F32)),
                (at::CONVOLUTION_MODE, Setting::Enum(tag::CONVOLUTION_MODE, CROSS_CORRELATION)),
                (at::CONVOLUTION_SPATIAL_DIMS, Setting::Int64(vec![2])),
                (at::CONVOLUTION_DILATIONS, both(1)),
                (at::CONVOLUTION_STRIDES, both(shape.stride)),
                (at::CONVOLUTION_PAD_BEFORE, both(shape.pad_before)),
                (at::CONVOLUTION_PAD_AFTER, both(shape.pad_after)),
            ],
        );
        let operation = self.push(
            kind::CONVOLUTION_FORWARD,
            vec![
                (at::FORWARD_CONVOLUTION, Setting::Nodes(vec![convolution])),
                (at::FORWARD_X, Setting::Nodes(vec![x])),
                (at::FORWARD_W, Setting::Nodes(vec![w])),
                (at::FORWARD_Y, Setting::Nodes(vec![y])),
                (at::FORWARD_ALPHA, Setting::Float(1.0)),
                (at::FORWARD_BETA, Setting::Float(0.0)),
            ],
        );
        self.operations.push(operation);
    }

    fn pointwise(&mut self, mode: i32, x: usize, b: usize, y: usize) {
        let pointwise = self.push(
            kind::POINTWISE,
            vec![
                (at::POINTWISE_MODE, Setting::Enum(tag::POINTWISE_MODE, mode)),
                (at::POINTWISE_COMPUTE, Setting::Enum(tag::DATA_TYPE, data_type::F32)),
            ],
        );
        let operation = self.push(
            kind::POINTWISE_OPERATION,
            vec![
                (at::OPERATION_POINTWISE, Setting::Nodes(vec![pointwise])),
                (at::OPERATION_X, Setting::Nodes(vec![x])),
                (at::OPERATION_B, Setting::Nodes(vec![b])),
                (at::OPERATION_Y, Setting::Nodes(vec![y])),
            ],
        );
        self.operations.push(operation);
    }

    /// A dense channels-last tensor on the device.
    fn stored(&mut self, uid: i64, data_type: i32, dims: [usize; 4]) -> usize {
        self.tensor(uid, data_type, dims, channels_last(dims), Place::Device)
    }

    fn tensor(
        &mut self,
        uid: i64,
        data_type: i32,
        dims: [usize; 4],
        strides: [usize; 4],
        place: Place,
    ) -> usize {
        let int64 = |values: [usize; 4]| Setting::Int64(values.iter().map(|&value| value as i64).collect());
        let mut settings = vec![
            (at::TENSOR_UID, Setting::Int64(vec![uid])),
            (at::TENSOR_DATA_TYPE, Setting::Enum(tag::DATA_TYPE, data_type)),
            (at::TENSOR_DIMENSIONS, int64(dims)),
            (at::TENSOR_STRIDES, int64(strides)),
            (at::TENSOR_ALIGNMENT, Setting::Int64(vec![ALIGNMENT])),
        ];
        match place {
            Place::Device => {}
            Place::Host => settings.push((at::TENSOR_IS_BY_VALUE, Setting::Boolean(true))),
            Place::Virtual => settings.push((at::TENSOR_IS_VIRTUAL, Setting::Boolean(true))),
        }
        if place != Place::Virtual {
            self.uids.push(uid);
        }
        self.push(kind::TENSOR, settings)
    }

    fn push(&mut self, kind: i32, settings: Vec<(i32, Setting)>) -> usize {
        self.nodes.push(Node { kind, settings });
        self.nodes.len() - 1
    }
}

/// Where a tensor's values are; on the host, one number, read when the convolution is launched.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Device,
    Host,
    Virtual,
}

fn data_type(element: Element) -> i32 {
    match element {
        Element::F32 => data_type::F32,
        Element::F16 => data_type::F16,
        Element::Bf16 => data_type::BF16,
    }
}

/// Strides of dims (n, c, h, w) in memory order n, h, w, c.
fn channels_last([_, c, h, w]: [usize; 4]) -> [usize; 4] {
    [h * w * c, 1, w * c, c]
}

#[cfg(test)]
pub(super) mod tests;
