"""Base models: the folder that holds one, how it is loaded, and an adapter on top.

A folder in the hub's layout comes in, once (`base.BaseModel`); a model on a device goes out, by one of two
loaders: `plain`, which has the forward pass of Llama, Mistral, Qwen2, Qwen3 and ours and starts in a second, or
`transformers` for everything else. `lora` is what an adapter is, `merged` puts one into the weights,
`vocabulary` cuts a model to a text format's tokens. A new architecture belongs here; what is computed with
one does not.
"""
