"""llama.cpp in this process, asked over HTTP, by the package `xllamacpp`.

Settings in their own words: the README of llama.cpp's tools/server.
"""

import importlib
import json
import urllib.request


# owned by chapter 18
def start_engine(base, adapters=(), threads=1, slots=4, context=256):
    """Load a GGUF base and GGUF adapters, and serve them on 127.0.0.1; returns the server.

    threads: CPU threads; one is the fastest for a small model. slots: requests at a time.
    context: tokens of each. A request that names no adapter gets the scales of the start, so these
    are 0: the base alone. The server ends with its last reference: `del server`.
    Raises ImportError, which says what to install, without xllamacpp.
    """
    xllamacpp = edge("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(base)
    settings.n_parallel, settings.n_ctx = slots, slots * context
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    exact = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.flash_attn_type = exact  # llama.cpp's flash attention rounds to 16 bits on a CPU
    settings.verbosity, settings.fit_params, settings.warmup = 0, False, False
    files = []
    for path in adapters:
        file = xllamacpp.CommonAdapterLoraInfo()
        file.path, file.scale = str(path), 0.0  # a request switches it on
        files.append(file)
    settings.lora_adapters = files
    return xllamacpp.Server(settings)


def edge(package):
    """The package, or an ImportError that says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is missing: pip install -e .[edge] brings it.") from error


# owned by chapter 18
def ask_engine(server, ids, adapter=None, tokens=24):
    """The engine's greedy continuation of token ids, as llama.cpp reports it: a dict.

    adapter: its place in the list that start_engine got, or None for the base alone.
    tokens: at most so many. "tokens" holds the new ids, "content" their text, "timings" seconds.
    """
    wanted = [] if adapter is None else [{"id": adapter, "scale": 1.0}]
    body = {"prompt": ids, "n_predict": tokens, "temperature": 0, "return_tokens": True}
    return post(server, "/completion", body | {"lora": wanted, "cache_prompt": False})


# owned by chapter 18
def post(server, path, body):
    """One HTTP request with a JSON body; returns the JSON of the answer."""
    head = {"Content-Type": "application/json"}
    where = server.listening_address + path
    request = urllib.request.Request(where, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
