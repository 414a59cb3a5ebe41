"""What diffusers computes from a folder that `onestep export` wrote:
`onestep export models/digits-teacher.safetensors /tmp/teacher && python export.py /tmp/teacher` (torch, diffusers 0.42,
safetensors). Writes export/golden.safetensors beside this file, as networks.py does.
"""
import os, sys, torch
from diffusers import DDIMPipeline
from safetensors.torch import save_file

pipeline = DDIMPipeline.from_pretrained(sys.argv[1], use_safetensors=True)
net, scheduler = pipeline.unet.eval(), pipeline.scheduler
torch.manual_seed(0)
x, labels = torch.randn(3, 1, 16, 16), torch.tensor([0, 4, 9])
golden = {"x": x, "class_labels": labels}
with torch.no_grad():
    golden["eps_500"] = net(x, torch.full((3,), 500), class_labels=labels).sample
    scheduler.set_timesteps(10)
    y = x.clone()
    for t in scheduler.timesteps:
        y = scheduler.step(net(y, t, class_labels=labels).sample, t, y, eta=0.0).prev_sample
    golden["ddim_10"] = y
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "export")
os.makedirs(folder, exist_ok=True)
save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(folder, "golden.safetensors"))
print(type(pipeline).__name__, sum(p.numel() for p in net.parameters()))
