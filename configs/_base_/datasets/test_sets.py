"""The four test sets; which degradation they are tested under stands in test_bi.py and test_bd.py.

REDS4 is scored on RGB, the others on the Y channel; Vimeo-90K-T on the centre frame of each mirrored septuplet.
"""

test_common = dict(batch_size=1, num_workers=1, sampler=dict(type="DefaultSampler", shuffle=False))
test_pipeline = [dict(type="PackInputs")]

test_dataloader = [
    dict(
        dataset=dict(
            type="ClipDataset",
            gt_root="data/REDS/train_sharp",
            include=["000", "011", "015", "020"],
            pipeline=test_pipeline,
        ),
        **test_common,
    ),
    dict(
        dataset=dict(
            type="ClipDataset",
            gt_root="data/vimeo90k/sequences",
            ann_file="data/vimeo90k/sep_testlist.txt",
            pipeline=[dict(type="MirrorSequence", keys=["img"]), *test_pipeline],
        ),
        **test_common,
    ),
    dict(dataset=dict(type="ClipDataset", gt_root="data/Vid4/GT", pipeline=test_pipeline), **test_common),
    dict(dataset=dict(type="ClipDataset", gt_root="data/UDM10/GT", pipeline=test_pipeline), **test_common),
]
test_evaluator = [
    dict(type="ClipQuality", dataset="REDS4", channel="RGB"),
    dict(type="ClipQuality", dataset="Vimeo-90K-T", channel="Y", frames="centre"),
    dict(type="ClipQuality", dataset="Vid4", channel="Y"),
    dict(type="ClipQuality", dataset="UDM10", channel="Y"),
]
