"""ZeroClaw's families of model providers, and where their OpenAI-compatible endpoints are."""

from __future__ import annotations

from typing import Final

# Its families whose endpoints take Chat Completions with a bearer token, and their addresses.
ADDRESSES: Final = {
    "ai21": "https://api.ai21.com/studio/v1",
    "aihubmix": "https://aihubmix.com/v1",
    "anyscale": "https://api.endpoints.anyscale.com/v1",
    "arcee": "https://api.arcee.ai/api/v1",
    "astrai": "https://as-trai.com/v1",
    "atlascloud": "https://api.atlascloud.ai/v1",
    "atomic_chat": "http://127.0.0.1:1337/v1",
    "avian": "https://api.avian.io/v1",
    "baichuan": "https://api.baichuan-ai.com/v1",
    "baseten": "https://inference.baseten.co/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "cloudflare": "https://gateway.ai.cloudflare.com/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "deepmyst": "https://api.deepmyst.com/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "doubao": "https://ark.cn-beijing.volces.com/api/v3",
    "featherless": "https://api.featherless.ai/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "friendli": "https://api.friendli.ai/serverless/v1",
    "github_models": "https://models.github.ai/inference",
    "glm": "https://api.z.ai/api/paas/v4",
    "groq": "https://api.groq.com/openai/v1",
    "huggingface": "https://router.huggingface.co/v1",
    "hunyuan": "https://api.hunyuan.cloud.tencent.com/v1",
    "hyperbolic": "https://api.hyperbolic.xyz/v1",
    "inception": "https://api.inceptionlabs.ai/v1",
    "kilo": "https://api.kilo.ai/api/gateway",
    "lambda_ai": "https://api.lambda.ai/v1",
    "lepton": "https://llama3-1-405b.lepton.run/api/v1",
    "litellm": "http://localhost:4000/v1",
    "llamacpp": "http://localhost:8080/v1",
    "lmstudio": "http://localhost:1234/v1",
    "manifest": "https://app.manifest.build/v1",
    "minimax": "https://api.minimax.io/v1",
    "mistral": "https://api.mistral.ai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "morph": "https://api.morphllm.com/v1",
    "nearai": "https://cloud-api.near.ai/v1",
    "nebius": "https://api.tokenfactory.nebius.com/v1",
    "novita": "https://api.novita.ai/openai",
    "nscale": "https://inference.api.nscale.com/v1",
    "nvidia": "https://integrate.api.nvidia.com/v1",
    "ollama": "http://localhost:11434/v1",
    "openai": "https://api.openai.com/v1",
    "opencode": "https://opencode.ai/zen/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "osaurus": "http://localhost:1337/v1",
    "ovh": "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
    "perplexity": "https://api.perplexity.ai",
    "qianfan": "https://qianfan.baidubce.com/v2",
    "qwen": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "reka": "https://api.reka.ai/v1",
    "sambanova": "https://api.sambanova.ai/v1",
    "sglang": "http://localhost:30000/v1",
    "siliconflow": "https://api.siliconflow.com/v1",
    "stepfun": "https://api.stepfun.ai/v1",
    "synthetic": "https://api.synthetic.new/openai/v1",
    "together": "https://api.together.xyz/v1",
    "upstage": "https://api.upstage.ai/v1",
    "vercel": "https://ai-gateway.vercel.sh/v1",
    "vllm": "http://localhost:8000/v1",
    "xai": "https://api.x.ai/v1",
    "yi": "https://api.lingyiwanwu.com/v1",
    "zai": "https://api.z.ai/api/coding/paas/v4",
}
# The same for families with several endpoints, by the name in `endpoint`.
OF_ENDPOINT: Final = {
    ("glm", "cn"): "https://open.bigmodel.cn/api/paas/v4",
    ("glm", "global"): ADDRESSES["glm"],
    ("minimax", "cn"): "https://api.minimaxi.com/v1",
    ("minimax", "intl"): ADDRESSES["minimax"],
    ("moonshot", "cn"): "https://api.moonshot.cn/v1",
    ("moonshot", "intl"): ADDRESSES["moonshot"],
    ("moonshot", "code"): "https://api.kimi.com/coding/v1",
    ("qwen", "cn"): "https://dashscope.aliyuncs.com/compatible-mode/v1",
    ("qwen", "intl"): ADDRESSES["qwen"],
    ("qwen", "us"): "https://dashscope-us.aliyuncs.com/compatible-mode/v1",
    ("stepfun", "cn"): "https://api.stepfun.com/v1",
    ("stepfun", "intl"): ADDRESSES["stepfun"],
    ("zai", "cn"): "https://open.bigmodel.cn/api/coding/paas/v4",
    ("zai", "global"): ADDRESSES["zai"],
}
# Families whose entry itself says where the endpoint is.
_WITH_URI: Final = frozenset({"custom", "openai-compatible", "openai_compatible"})
# What people write behind Ollama's address, which is that of its own protocol.
_OLLAMA_PATHS: Final = ("/api/chat", "/api")


def address_of(family: str, uri: str, endpoint: str) -> str | None:
    """The base URL of an entry; None for what is not OpenAI-compatible, or says no address."""
    if uri:
        served = family in ADDRESSES or family in _WITH_URI
        return _tidied(family, uri) if served else None
    if endpoint and endpoint != "default" and family in {name for name, _ in OF_ENDPOINT}:
        return OF_ENDPOINT.get((family, endpoint))
    return ADDRESSES.get(family)


def _tidied(family: str, uri: str) -> str:
    base = uri.strip().rstrip("/")
    if family != "ollama":
        # What ZeroClaw also takes: the address of the call itself.
        return base.removesuffix("/chat/completions")
    for path in _OLLAMA_PATHS:
        base = base.removesuffix(path)
    return base if base.count("/") > 2 else f"{base}/v1"


__all__ = ["ADDRESSES", "OF_ENDPOINT", "address_of"]
