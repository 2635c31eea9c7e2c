"""The words of metrics.csv and of evaluations: what each column and each value means, and which way is better."""

import re

COLUMNS = {
    "step": "Batches of real images trained on so far.",
    "images": "Real images trained on so far: steps × batch_size.",
    "seconds": "Seconds of training so far, those before a resume included.",
    "d_real": "The discriminator's mean probability that real images are real, in 0..1; 0.5 where it cannot tell.",
    "d_fake": "The discriminator's mean probability that generated images are real, in 0..1; 0.5 where it cannot tell.",
    "accuracy_real": "Share of the real images that the discriminator calls real, in 0..1.",
    "accuracy_fake": "Share of the generated images that the discriminator calls generated, in 0..1.",
    "accuracy_domain": "Share of the real images whose domain or attribute the discriminator names, in 0..1.",
    "accuracy_target": "Share of the translations in which the discriminator sees the domain or attribute asked for, "
    "in 0..1.",
    "discriminator_real": "Term of the discriminator's loss that real images cause.",
    "discriminator_fake": "Term of the discriminator's loss that generated images cause.",
    "discriminator_penalty": "Gradient penalty in the discriminator's loss, its weight included.",
    "discriminator_r1": "Penalty on the discriminator's gradient at real images, its weight included.",
    "discriminator_r2": "Penalty on the discriminator's gradient at generated images, its weight included.",
    "discriminator_a": "Loss of the discriminator of domain A.",
    "discriminator_b": "Loss of the discriminator of domain B.",
    "discriminator_classification": "Cross-entropy of the domains of real images in the discriminator's loss, its "
    "weight included.",
    "generator_gan": "Term of the generator's loss that the discriminator's judgement causes.",
    "generator_gan_a": "Term of the generator's loss that the discriminator of domain A causes.",
    "generator_gan_b": "Term of the generator's loss that the discriminator of domain B causes.",
    "generator_l1": "Mean absolute difference between translation and target, its weight included.",
    "generator_cycle": "Mean absolute difference between an image and its translation there and back, its weight "
    "included.",
    "generator_cycle_a": "Mean absolute difference between images of A and their translation there and back, its "
    "weight included.",
    "generator_cycle_b": "Mean absolute difference between images of B and their translation there and back, its "
    "weight included.",
    "generator_identity_a": "Mean absolute change of images of A that are translated to A, its weight included.",
    "generator_identity_b": "Mean absolute change of images of B that are translated to B, its weight included.",
    "generator_classification": "Cross-entropy of the domain asked for in the generator's loss, its weight included.",
    "generator_reconstruction": "Mean absolute difference between an image and its translation there and back, its "
    "weight included.",
    "generator_style": "Mean absolute difference between the style asked for and the style found in the translation, "
    "its weight included.",
    "generator_diversity": "Minus the mean absolute difference between translations in two styles, its weight "
    "included.",
    "learning_rate_discriminator": "Learning rate of the discriminator's optimizer.",
    "learning_rate_generator": "Learning rate of the generator's optimizer.",
    "jensen_shannon": "The discriminator's estimate of the Jensen-Shannon divergence between the data and the model, "
    "in nats: 0 where they agree, ln 2 = 0.693 where they share nothing.",
    "wasserstein": "The critic's estimate of the Wasserstein distance between the data and the model, in the units of "
    "its own output: its fall counts, not its value.",
}
"""Every column of metrics.csv but those of VALUES, which a training writes too where it evaluates."""

VALUES = {
    "fid": "Fréchet distance between the features of both sides, as Gaussians; 0 for equal ones, smaller is better.",
    "fid_bias": "How much of the FID is expected from the numbers of images alone; less than all of it where a side "
    "has fewer than two images a dimension.",
    "fid_deviation": "Standard deviation of the FID over bootstrap resamples of the generated images.",
    "fid_infinity": "FID extrapolated to endlessly many generated images; smaller is better.",
    "fid_infinity_deviation": "Standard error of the FID extrapolated to endlessly many generated images.",
    "intra_fid": "Mean of the FIDs within each class; smaller is better.",
    "intra_fid_bias": "Mean of the biases of the FIDs within each class.",
    "fid_CLASS": "FID within one class, by its number; smaller is better.",
    "kid": "Kernel distance between the features of both sides, unbiased; 0 for equal ones on average, smaller is "
    "better.",
    "kid_deviation": "Standard deviation of the KID over subsets; of fewer than 2,000 images its standard error.",
    "is": "Inception Score: 1 to the number of classes, larger where each image is of a clear class and all classes "
    "occur.",
    "is_bias": "How far the Inception Score lies from that of endlessly many images, estimated from its splits.",
    "is_deviation": "Standard deviation of the Inception Score over its splits.",
    "precision": "Share of the generated images that lie among the real ones, in 0..1; larger is better.",
    "recall": "Share of the real images that lie among the generated ones, in 0..1; larger is better.",
    "density": "How densely real images stand around the generated ones; 1 for equal sets, larger is better.",
    "coverage": "Share of the real images with a generated one nearby, in 0..1; larger is better.",
    "confidence": "Mean probability of the class that the classifier finds likeliest, in 0..1; larger is better.",
    "share_CLASS": "Share of the images that the classifier gives to one class, by its number, in 0..1.",
    "accuracy": "Share of the images that the classifier gives to the class asked for, in 0..1; larger is better.",
    "psnr": "Peak signal-to-noise ratio between translation and target, in dB; larger is better.",
    "ssim": "Structural similarity of translation and target, at most 1; larger is better.",
    "l1": "Mean absolute difference between translation and target; smaller is better.",
    "exact_kl_data_model": "Kullback-Leibler divergence of the model from the data, in nats: large where the model "
    "misses some of the data; 0 is best.",
    "exact_kl_model_data": "Kullback-Leibler divergence of the data from the model, in nats: large where the model "
    "puts points that the data do not have; 0 is best.",
    "exact_jensen_shannon": "Jensen-Shannon divergence between data and model, in nats: 0 is best, ln 2 = 0.693 where "
    "they share nothing.",
    "exact_total_variation": "Total variation between data and model: 0 is best, 1 where they share nothing.",
    "exact_wasserstein": "Wasserstein-1 distance between data and model, in the units of the points; 0 is best.",
    "modes_covered": "How many of the data's modes the model reaches with a fair share of its points.",
    "high_quality": "Share of the points within 3 standard deviations of the nearest mode, in 0..1.",
    "floor_NAME": "The same value for points drawn from the data's own distribution: no model does better.",
    "believed_NAME": "The estimate of the run's own discriminator or critic at its last checkpoint.",
}
"""Every value of an evaluation. CLASS stands for a number, NAME for another entry."""


def value(name: str) -> str | None:
    """What a value of an evaluation means; None for anything else that stands in a record, as the step."""
    return meaning(name) if name not in COLUMNS else None


def meaning(name: str) -> str | None:
    """What a column or a value means; None for one that is not known, as of a family that somebody else wrote.

    Args:
        name: as metrics.csv or an evaluation has it. After a space it may name a direction, as in `fid a-to-b`.
    """
    plain = name.partition(" ")[0]
    general = re.sub(r"^(fid|share)_\d+$", r"\1_CLASS", plain)
    if found := VALUES.get(general) or COLUMNS.get(general):
        return found
    group, _, rest = plain.partition("_")
    return VALUES[f"{group}_NAME"] if f"{group}_NAME" in VALUES and meaning(rest) else None
