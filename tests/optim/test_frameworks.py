"""Lightning and Accelerate train with our Adam: the same parameters as a plain loop, to the bit."""

import importlib.util
import os

import pytest
import torch

from adam_nbdev.optim import Adam, AdamW

pytestmark = pytest.mark.long

OPTIONS = {"lr": 0.05, "weight_decay": 0.1}
EPOCHS = 2
LONGEST = 0.3  # of a gradient, where it is clipped
LIGHTNINGS_OWN = [
    r"ignore:.isinstance\(treespec, LeafSpec\). is deprecated:FutureWarning",
    "ignore:The 'train_dataloader' does not have many workers",
]


def quiet(test):
    """The test, in which warnings are no errors that Lightning itself is the cause of."""
    for each in LIGHTNINGS_OWN:
        test = pytest.mark.filterwarnings(each)(test)
    return test


def needs(name):
    """The library of that name. Without it a test is skipped, but fails in CI."""
    library = name.partition(".")[0]
    if importlib.util.find_spec(library) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{library} is not installed, and CI is to have it")
        pytest.skip(f"{library} is not installed: pip install {library}")
    return importlib.import_module(name)


@pytest.fixture
def lightning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return needs("lightning.pytorch")


@pytest.fixture
def accelerate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    accelerate = needs("accelerate")
    yield accelerate
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))


def loader():
    chance = torch.Generator().manual_seed(1)
    tensors = [torch.randn(32, n, generator=chance) for n in (5, 1)]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=4)


def loss(net, x, y):
    return ((net(x) - y) ** 2).mean()


def plain(kind=Adam, accumulate=1, longest=None, scheduled=False, **options):
    """The parameters after a loop without a framework."""
    net = model()
    opt = kind(net.parameters(), **{**OPTIONS, **options})
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    for _ in range(EPOCHS):
        for i, (x, y) in enumerate(loader(), start=1):
            (loss(net, x, y) / accumulate).backward()
            if i % accumulate == 0:
                if longest is not None:
                    torch.nn.utils.clip_grad_norm_(net.parameters(), longest)
                opt.step()
                opt.zero_grad()
        if scheduled:
            schedule.step()
    return [p.detach() for p in net.parameters()]


def equal(net, expected):
    return all(torch.equal(p, q) for p, q in zip(net.parameters(), expected, strict=True))


def far(xs, ys):
    return max((x - y).abs().max().item() for x, y in zip(xs, ys, strict=True))


def test_the_plain_loops_differ_and_are_those_of_torch():
    """Else the tests below would say nothing."""
    runs = [
        plain(),
        plain(AdamW),
        plain(scheduled=True),
        plain(longest=LONGEST),
        plain(accumulate=2),
        plain(accumulate=2, longest=LONGEST),
    ]
    assert min(far(a, b) for i, a in enumerate(runs) for b in runs[:i]) > 1e-3
    assert far(runs[0], plain(torch.optim.Adam)) < 1e-5
    assert far(plain(max_norm=LONGEST), runs[3]) < 1e-5


# Lightning


@pytest.fixture
def trained(lightning, tmp_path):
    """A function that trains a module of Lightning; the module and its trainer."""

    class Module(lightning.LightningModule):
        def __init__(self, kind, scheduled, options):
            super().__init__()
            self.net, self.how = model(), (kind, scheduled, options)

        def training_step(self, batch, _):
            return loss(self.net, *batch)

        def configure_optimizers(self):
            kind, scheduled, options = self.how
            opt = kind(self.parameters(), **{**OPTIONS, **options})
            schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
            return {"optimizer": opt, **({"lr_scheduler": schedule} if scheduled else {})}

    def train(kind=Adam, epochs=EPOCHS, scheduled=False, options=None, checkpoint=None, **how):
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            **how,
        )
        module = Module(kind, scheduled, options or {})
        trainer.fit(module, loader(), ckpt_path=checkpoint)
        return module, trainer

    return train


@pytest.mark.parametrize("kind", [Adam, AdamW])
@quiet
def test_lightning_trains(trained, kind):
    module, trainer = trained(kind)
    assert type(module.optimizers(use_pl_optimizer=False)) is kind
    assert trainer.global_step == 16
    assert equal(module, plain(kind))


@quiet
def test_lightning_schedules_accumulates_and_clips(trained):
    assert equal(trained(scheduled=True)[0], plain(scheduled=True))
    assert equal(trained(accumulate_grad_batches=2)[0], plain(accumulate=2))
    assert equal(trained(gradient_clip_val=LONGEST)[0], plain(longest=LONGEST))
    assert equal(trained(options={"max_norm": LONGEST})[0], plain(max_norm=LONGEST))


@quiet
def test_lightning_resumes(trained, tmp_path):
    _, trainer = trained(epochs=1, scheduled=True)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    module, trainer = trained(scheduled=True, checkpoint=tmp_path / "half.ckpt")
    assert trainer.global_step == 16
    assert equal(module, plain(scheduled=True))


# Accelerate


def run(accelerator, net, opt, batches, epochs=1, longest=None):
    """Epochs of training, as Accelerate's documentation has them."""
    for _ in range(epochs):
        for x, y in batches:
            with accelerator.accumulate(net):
                accelerator.backward(loss(net, x, y))
                if longest is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(net.parameters(), longest)
                opt.step()
                opt.zero_grad()


def prepared(accelerate, accumulate=1, kind=Adam, **options):
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    net = model()
    opt = kind(net.parameters(), **{**OPTIONS, **options})
    return accelerator, *accelerator.prepare(net, opt, loader())


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_accelerate_trains(accelerate, kind):
    accelerator, net, opt, batches = prepared(accelerate, kind=kind)
    run(accelerator, net, opt, batches, epochs=EPOCHS)
    assert type(opt.optimizer) is kind
    assert equal(net, plain(kind))


@pytest.mark.parametrize("longest", [None, LONGEST])
def test_accelerate_accumulates_and_clips(accelerate, longest):
    accelerator, net, opt, batches = prepared(accelerate, accumulate=2)
    run(accelerator, net, opt, batches, epochs=EPOCHS, longest=longest)
    assert equal(net, plain(accumulate=2, longest=longest))


def test_accelerate_saves_and_loads(accelerate, tmp_path):
    accelerator, net, opt, batches = prepared(accelerate, accumulate=2)
    run(accelerator, net, opt, batches, longest=LONGEST)
    accelerator.save_state(tmp_path / "half")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()

    accelerator, net, opt, batches = prepared(accelerate, accumulate=2, lr=0.7)
    run(accelerator, net, opt, batches)  # elsewhere, so that loading has to mend it
    accelerator.load_state(tmp_path / "half")
    run(accelerator, net, opt, batches, longest=LONGEST)
    assert equal(net, plain(accumulate=2, longest=LONGEST))
    assert opt.param_groups[0]["lr"] == OPTIONS["lr"]
