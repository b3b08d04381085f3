//! How [`SnapshotExec`] is sent: its request and schema, beside what Ballista sends.

use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::{
    arrow::{
        datatypes::{Schema, SchemaRef},
        ipc::{reader::StreamReader, writer::StreamWriter},
    },
    common::{DataFusionError, Result, plan_err},
    execution::TaskContext,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use super::{
    held::Held,
    node::{Request, SnapshotExec},
};

/// What a node of ours starts with. Another version of the form takes another number.
const MAGIC: &[u8] = b"r2r snapshot 1\n";

/// Sends nodes of ours and of Ballista.
#[derive(Debug)]
pub(super) struct SnapshotCodec {
    ballista: BallistaPhysicalExtensionCodec,
    held: Option<Arc<Held>>,
}

impl SnapshotCodec {
    /// Makes the codec of an executor, whose nodes answer from what it holds.
    pub(super) fn of_executor(held: Held) -> Self {
        Self { held: Some(Arc::new(held)), ..Self::of_others() }
    }

    /// Makes the codec of those who only pass nodes on.
    pub(super) fn of_others() -> Self {
        Self { ballista: BallistaPhysicalExtensionCodec::default(), held: None }
    }
}

impl PhysicalExtensionCodec for SnapshotCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(bytes) = bytes.strip_prefix(MAGIC) else {
            return self.ballista.try_decode(bytes, inputs, context, converter);
        };
        let (request, schema): (Request, Vec<u8>) = postcard::from_bytes(bytes).map_err(failed)?;
        let [input] = inputs else { return plan_err!("SnapshotExec takes one input") };
        let schema = schema_of(&schema)?;
        Ok(Arc::new(SnapshotExec::new(request, schema, input.clone(), self.held.clone())))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(ours) = node.downcast_ref::<SnapshotExec>() else {
            return self.ballista.try_encode(node, bytes, converter);
        };
        let sent = (&ours.request, bytes_of(&ours.schema())?);
        bytes.extend_from_slice(MAGIC);
        bytes.extend(postcard::to_stdvec(&sent).map_err(failed)?);
        Ok(())
    }
}

/// Returns a schema as an Arrow stream without rows.
fn bytes_of(schema: &Schema) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)?.finish()?;
    Ok(bytes)
}

fn schema_of(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(bytes, None)?.schema())
}

fn failed(error: postcard::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
