"""The four test sets; which degradation they are tested under stands in test_bi.py and test_bd.py.

REDS4 is scored on RGB, the others on the Y channel; Vimeo-90K-T on the centre frame of each mirrored septuplet.
"""

# Where one is replaced, in a config that inherits or on the command line, its sets follow.
test_roots = dict(data_root="data/REDS", vimeo90k_root="data/vimeo90k", vid4_root="data/Vid4", udm10_root="data/UDM10")

test_common = dict(batch_size=1, num_workers=1, sampler=dict(type="DefaultSampler", shuffle=False))
test_pipeline = [dict(type="PackInputs")]

test_dataloader = [
    dict(
        dataset=dict(
            type="ClipDataset",
            gt_root=["data/REDS/train_sharp", "data/REDS/train/train_sharp"],
            include=["000", "011", "015", "020"],
            pipeline=test_pipeline,
        ),
        **test_common,
    ),
    dict(
        dataset=dict(
            type="ClipDataset",
            gt_root=["data/vimeo90k/sequences", "data/vimeo90k/GT"],
            ann_file=["data/vimeo90k/sep_testlist.txt", "data/vimeo90k/meta_info_Vimeo90K_test_GT.txt"],
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
