"""Prints the event file that TensorBoard's own writer makes for the test in `crates/engine/src/sink/tensorboard.rs`.

Needs: pip install tensorboard. The output is Rust source, 32 bytes a line.
"""

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter
import io

WALL = 1_700_000_000.25


def events():
    yield Event(wall_time=WALL, file_version="brain.Event:2")
    yield Event(
        wall_time=WALL,
        step=300,
        summary=Summary(
            value=[
                Summary.Value(tag="train/loss/total", simple_value=4.125),
                Summary.Value(tag="lr", simple_value=1e-4),
                Summary.Value(tag="zero", simple_value=0.0),
                Summary.Value(tag="nan", simple_value=float("nan")),
            ]
        ),
    )
    # Text as torch.utils.tensorboard.summary.text writes it.
    yield Event(
        wall_time=WALL,
        step=0,
        summary=Summary(
            value=[
                Summary.Value(
                    tag="config/text_summary",
                    metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
                    tensor=TensorProto(
                        dtype="DT_STRING",
                        string_val=[b"a = 1\n"],
                        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
                    ),
                )
            ]
        ),
    )


class Keep(io.BytesIO):
    def close(self):
        pass


out = Keep()
writer = RecordWriter(out)
for event in events():
    writer.write(event.SerializeToString())
writer.flush()
data = out.getvalue()
for at in range(0, len(data), 32):
    print(data[at : at + 32].hex() + " \\")
