"""Names and numbers that settings show and computations obey, where they can be read without PyTorch."""

#: Weights that restoring takes unless it is told: on clean video as good as ``basicvsr_reds4`` or better, and better on
#: compressed (docs/model_zoo.md, docs/footage.md).
USUAL_WEIGHTS = "basicvsr_vimeo90k_bi"

#: Step of a codec's quantiser, in 255ths, that compressed footage is cleaned for where nothing tells it.
USUAL_STEP = 18.0

#: Ways of restoring a sequence; see :func:`vsr_plugin.inference.restore_frames`.
STRATEGIES = ("auto", "whole", "exact", "window")

#: Frames kept of a window.
WINDOW = 60
#: Frames read beyond each end of a window; what is lost by there being no more stands in docs/restoring.md.
OVERLAP = 15

#: Precisions of features, and PyTorch's names of their types.
PRECISIONS = {"fp32": "float32", "int16": "float32", "bf16": "bfloat16", "fp16": "float16"}
#: In place of one: the fastest on the machine at hand of those that lose nothing.
AUTO = "auto"

#: Share of a still pixel's features that is lost per frame, where forgetting is on and nobody says how much.
USUAL_RATE = 0.1
#: Frames from which on a sequence is long enough for that. Short ones hardly drift, and lose up to half a dB if they
#: forget; figures in docs/restoring.md.
LONG = 45

#: How often a self-ensemble restores a sequence; see :mod:`vsr_plugin.inference.ensemble`.
ENSEMBLES = (1, 2, 4, 8)

#: How progress is shown: a bar for people, or lines for programs.
PROGRESS = ("bar", "json")
