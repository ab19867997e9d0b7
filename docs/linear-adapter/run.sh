#!/usr/bin/env bash
# The study of docs/linear-adapter.md: run.sh DATA WEIGHTS OUT. Each step goes on where it stopped.
set -euo pipefail
data=$1 weights=$2 out=$3
food=food101:$data/food10_upmc_layout

fusionscope train --family linear-adapter --data "$food" \
    --language-model "$weights/smollm2" \
    --vision-encoder "vit_small_patch14_dinov2:$weights/vit_small_patch14/model.safetensors" \
    --image-size 112 --max-text-length 32 --epochs 3 --batch-size 8 --learning-rate 2e-3 \
    --dev-limit 400 --saved-precision float16 --cache-dir "$out/patches" --out "$out/adapter"
fusionscope train-sae --model "$out/adapter/seed-0" --data "mmimdb:$data/mmimdb_mini" \
    --text-alone --layers 5,10,15,20,25,29 --features 4096 --k 32 --steps 4000 --out "$out/saes"
[ -d "$out/store/runs/adapter" ] || fusionscope capture --model "$out/adapter/seed-0" \
    --data "$food" --store "$out/store" --run-id adapter --pooling mean --limit 256
fusionscope read-saes --store "$out/store" --run adapter --data "$food" --saes "$out/saes" \
    --models "$out/adapter/seed-0" --samples 128 --loss-samples 32
fusionscope findings --store "$out/store"
