"""The layout of the official FP8 checkpoints (compressed-tensors): linear layers in e4m3, a scale a row, but head and
routers."""

LINEAR = ("proj.weight", "proj_with_mqa.weight")  # how the names of these layers end

FP8_CONFIG = {
    "quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed",
    "kv_cache_scheme": None, "ignore": ["lm_head"], "config_groups": {"group_0": {
        "targets": ["Linear"], "output_activations": None,
        "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False,
                    "group_size": None, "block_structure": None},
        "input_activations": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True,
                              "group_size": None, "block_structure": None}}}}
