//! From a description to something that runs: cuDNN's candidates, those whose numerics will do, the fastest of them.

use std::sync::Arc;

use super::Pointers;
use super::descriptor::{Descriptor, Failure, Value};
use super::graph::{Graph, Setting, uid};
use super::shape::ConvShape;
use super::sys::{Api, HEURISTIC_A, HEURISTIC_FALLBACK, Raw, attribute as at, kind, note, tag};
use super::target::Target;
use crate::exec::cuda::kernels::Element;

/// A convolution, ready to run on the device it was made for.
pub struct Plan {
    pub(super) shape: ConvShape,
    uids: Vec<i64>,
    pub(super) descriptor: Descriptor,
    workspace: usize,
    engine: i64,
    /// cuDNN does not say whether a finished descriptor still looks at those it was made from.
    _parts: Arc<Built>,
    _config: Descriptor,
    /// Outlived by none of its plans.
    _target: Arc<Target>,
}

impl Plan {
    /// Bytes of device memory that a run may use for itself; 0 for most.
    pub fn workspace(&self) -> usize {
        self.workspace
    }

    /// cuDNN's number for the kernel family that was chosen, of no meaning across releases.
    #[cfg(test)]
    pub fn engine(&self) -> i64 {
        self.engine
    }

    /// The addresses of one run, as cuDNN takes them.
    pub(super) fn pack(&self, api: &Arc<Api>, pointers: &Pointers) -> Result<Descriptor, Failure> {
        let address = |uid: &i64| match *uid {
            uid::X => pointers.x,
            uid::W => pointers.w,
            uid::BIAS => pointers.bias,
            uid::RESIDUAL => pointers.residual,
            uid::Y => pointers.y,
            _ => std::ptr::from_ref(&self.shape.scale) as u64,
        };
        let addresses: Vec<Raw> = self.uids.iter().map(|uid| address(uid) as Raw).collect();
        let mut pack = Descriptor::new(api, kind::VARIANT_PACK)?;
        pack.set(at::PACK_UIDS, &Value::Int64(&self.uids))?;
        pack.set(at::PACK_POINTERS, &Value::Pointers(&addresses))?;
        let workspace = if self.workspace == 0 { 0 } else { pointers.workspace };
        pack.set(at::PACK_WORKSPACE, &Value::Pointers(&[workspace as Raw]))?;
        pack.finalize()?;
        Ok(pack)
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: engine {}, {} bytes of workspace", self.shape, self.engine, self.workspace)
    }
}

/// A description as cuDNN has it; the graph stands last.
struct Built(Vec<Descriptor>);

/// Why candidates were passed over, for the error where none is left.
#[derive(Default)]
pub(super) struct Refusals {
    numerics: usize,
    workspace: usize,
    failed: usize,
    last: Option<Failure>,
}

impl Refusals {
    fn failed(&mut self, failure: Failure) {
        self.failed += 1;
        self.last = Some(failure);
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "no kernel will do: {} refused for their numerics, {} for their workspace, {} failed",
            self.numerics, self.workspace, self.failed
        )?;
        match &self.last {
            Some(failure) => write!(f, " (the last: {failure})"),
            None => Ok(()),
        }
    }
}

/// The first `most` plans within `workspace_limit` bytes, in cuDNN's order; fewer, or none, where there are no more.
///
/// Compiling one takes up to half a second.
pub(super) fn candidates(
    target: &Arc<Target>,
    shape: &ConvShape,
    workspace_limit: usize,
    most: usize,
) -> Result<(Vec<Plan>, Refusals), Failure> {
    let graph = Graph::new(shape);
    let built = Arc::new(build(target, &graph)?);
    let mut plans: Vec<Plan> = Vec::new();
    let mut refusals = Refusals::default();
    for mode in [HEURISTIC_A, HEURISTIC_FALLBACK] {
        let configs = match configs(target, &built, mode) {
            Ok(configs) => configs,
            Err(failure) => {
                refusals.failed(failure);
                continue;
            }
        };
        for config in configs {
            if plans.len() == most {
                return Ok((plans, refusals));
            }
            let (engine, notes) = engine_of(&config)?;
            if notes.iter().any(|note| refused(shape.element).contains(note)) {
                refusals.numerics += 1;
                continue;
            }
            let (descriptor, workspace) = match finish(target, &config) {
                Ok(finished) => finished,
                Err(failure) => {
                    refusals.failed(failure);
                    continue;
                }
            };
            if workspace > workspace_limit {
                refusals.workspace += 1;
                continue;
            }
            plans.push(Plan {
                shape: *shape,
                uids: graph.uids.clone(),
                descriptor,
                workspace,
                engine,
                _parts: built.clone(),
                _config: config,
                _target: target.clone(),
            });
        }
    }
    Ok((plans, refusals))
}

/// What an engine must not do. Two runs give the same bits; in f32, products are of all 24 bits.
fn refused(element: Element) -> &'static [i32] {
    match element {
        Element::F32 => &[
            note::NONDETERMINISTIC,
            note::REDUCED_PRECISION_REDUCTION,
            note::TENSOR_CORE,
            note::DOWN_CONVERT_INPUTS,
        ],
        Element::F16 | Element::Bf16 => &[note::NONDETERMINISTIC, note::REDUCED_PRECISION_REDUCTION],
    }
}

fn build(target: &Target, graph: &Graph) -> Result<Built, Failure> {
    let mut made: Vec<Descriptor> = Vec::new();
    for node in &graph.nodes {
        let mut descriptor = Descriptor::new(target.api(), node.kind)?;
        for (name, setting) in &node.settings {
            match setting {
                Setting::Enum(tag, value) => descriptor.set(*name, &Value::Enum(*tag, *value))?,
                Setting::Int64(values) => descriptor.set(*name, &Value::Int64(values))?,
                Setting::Float(value) => descriptor.set(*name, &Value::Float(*value))?,
                Setting::Boolean(value) => descriptor.set(*name, &Value::Boolean(*value))?,
                Setting::Nodes(places) => {
                    let raws: Vec<_> = places.iter().map(|&place| made[place].raw()).collect();
                    descriptor.set(*name, &Value::Descriptors(&raws))?;
                }
            }
        }
        descriptor.finalize()?;
        made.push(descriptor);
    }
    let mut whole = Descriptor::new(target.api(), kind::OPERATION_GRAPH)?;
    let operations: Vec<_> = graph.operations.iter().map(|&place| made[place].raw()).collect();
    whole.set(at::GRAPH_OPERATIONS, &Value::Descriptors(&operations))?;
    target.of_graph(&mut whole)?;
    whole.finalize()?;
    made.push(whole);
    Ok(Built(made))
}

/// cuDNN's proposals, the most promising one first.
fn configs(target: &Target, built: &Built, mode: i32) -> Result<Vec<Descriptor>, Failure> {
    let graph = built.0[built.0.len() - 1].raw();
    let mut heuristics = Descriptor::new(target.api(), kind::HEURISTICS)?;
    heuristics.set(at::HEURISTICS_GRAPH, &Value::Descriptors(&[graph]))?;
    heuristics.set(at::HEURISTICS_MODE, &Value::Enum(tag::HEURISTIC_MODE, mode))?;
    target.of_heuristics(&mut heuristics)?;
    heuristics.finalize()?;
    heuristics.descriptors(at::HEURISTICS_RESULTS, kind::ENGINE_CONFIG)
}

/// A configuration's engine: its number and its numerical notes.
fn engine_of(config: &Descriptor) -> Result<(i64, Vec<i32>), Failure> {
    let engine = config.descriptor(at::ENGINE_CONFIG_ENGINE, kind::ENGINE)?;
    Ok((engine.int64(at::ENGINE_INDEX)?, engine.enums(at::ENGINE_NOTES, tag::NUMERICAL_NOTE, note::COUNT)?))
}

/// Compiles; gives the bytes of workspace too.
fn finish(target: &Target, config: &Descriptor) -> Result<(Descriptor, usize), Failure> {
    let mut plan = Descriptor::new(target.api(), kind::EXECUTION_PLAN)?;
    plan.set(at::PLAN_ENGINE_CONFIG, &Value::Descriptors(&[config.raw()]))?;
    target.of_plan(&mut plan)?;
    plan.finalize()?;
    let workspace = usize::try_from(plan.int64(at::PLAN_WORKSPACE)?).unwrap_or(0);
    Ok((plan, workspace))
}
