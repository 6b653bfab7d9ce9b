"""CAT-Seg checkpoints, the authors' and this project's, renamed to this project's names of today."""

from catseg.checkpoint.rename_table import RenameTable

_AGGREGATOR = "sem_seg_head.aggregator."

CAT_SEG = RenameTable(
    source="CAT-Seg, as the authors publish it",
    renames=(
        (r"upsample1\.", "clip_pyramid.upsample_res3."),
        (r"upsample2\.", "clip_pyramid.upsample_res2."),
        (r"sem_seg_head\.predictor\.clip_model\.", "clip."),
        (r"sem_seg_head\.predictor\.transformer\.", _AGGREGATOR),
        (rf"{_AGGREGATOR}conv1\.", f"{_AGGREGATOR}cost_embedding.conv."),
        (rf"{_AGGREGATOR}guidance_projection\.0\.", f"{_AGGREGATOR}guidance.appearance."),
        (rf"{_AGGREGATOR}text_guidance_projection\.0\.", f"{_AGGREGATOR}guidance.text."),
        (rf"{_AGGREGATOR}decoder_guidance_projection\.(\d+)\.0\.", rf"{_AGGREGATOR}guidance.decoder.\1."),
        (rf"({_AGGREGATOR}layers\.\d+\.)swin_block\.", r"\1spatial."),
        (rf"({_AGGREGATOR}layers\.\d+\.spatial\.)block_1\.", r"\1blocks.0."),
        (rf"({_AGGREGATOR}layers\.\d+\.spatial\.)block_2\.", r"\1blocks.1."),
        (rf"({_AGGREGATOR}layers\.\d+\.)attention\.", r"\1class_."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)attention\.", r"\1attn."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)MLP\.0\.", r"\1mlp.fc1."),
        (rf"({_AGGREGATOR}layers\.\d+\.class_\.)MLP\.2\.", r"\1mlp.fc2."),
        (rf"{_AGGREGATOR}decoder1\.", f"{_AGGREGATOR}decoder.stages.0."),
        (rf"{_AGGREGATOR}decoder2\.", f"{_AGGREGATOR}decoder.stages.1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.0\.", r"\1conv1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.1\.", r"\1norm1."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.3\.", r"\1conv2."),
        (rf"({_AGGREGATOR}decoder\.stages\.\d+\.)conv\.double_conv\.4\.", r"\1norm2."),
        (rf"{_AGGREGATOR}head\.", f"{_AGGREGATOR}decoder.head."),
    ),
    dropped=(
        r".*\.relative_position_index",
        r".*\.attn_mask",
        r"sem_seg_head\.predictor\.clip_model\.(input_resolution|context_length|vocab_size)",
    ),
)

# Earlier versions had the upsamplings of version 2 in the backbone.
OWN = RenameTable(
    source="CAT-Seg, as this project saves it",
    renames=((r"backbone\.(upsample_res\d)\.", r"clip_pyramid.\1."),),
)
