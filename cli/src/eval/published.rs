//! What systems reach on CIFAR-10, as their papers and later ones say it. Nothing of it was measured here.

/// A system on CIFAR-10 without labels.
pub struct System {
    /// Its name, and who made it.
    pub name: &'static str,
    /// Fréchet Inception Distance.
    pub fid: f64,
    /// Inception Score.
    pub inception_score: Option<f64>,
    /// Network calls an image.
    pub steps: u32,
}

const fn system(name: &'static str, fid: f64, inception_score: Option<f64>, steps: u32) -> System {
    System { name, fid, inception_score, steps }
}

/// Many steps first, then few, then one; in each the best last. FID and IS of 50,000 images against the training set. The first two
/// are Luhman and Luhman's (2021); of the others, those that other papers' tables agree on (Song et al. 2023, table 1; Salimans and Ho
/// 2022, table 2; Liu et al. 2023, table 1).
pub const SYSTEMS: &[System] = &[
    system("Denoising student (Luhman and Luhman 2021)", 9.36, Some(8.36), 1),
    system("its teacher, DDIM (Luhman and Luhman 2021)", 4.16, Some(8.96), 100),
    system("NCSN (Song and Ermon 2019)", 25.3, Some(8.87), 1000),
    system("DDPM (Ho et al. 2020)", 3.17, Some(9.46), 1000),
    system("NCSN++ (Song et al. 2021)", 2.20, Some(9.89), 2000),
    system("DDIM (Song et al. 2021)", 4.67, None, 50),
    system("DDIM (Song et al. 2021)", 6.84, None, 20),
    system("EDM (Karras et al. 2022)", 2.04, Some(9.84), 35),
    system("Glow (Kingma and Dhariwal 2018)", 48.9, Some(3.92), 1),
    system("SNGAN (Miyato et al. 2018)", 21.7, Some(8.22), 1),
    system("BigGAN (Brock et al. 2019)", 14.7, Some(9.22), 1),
    system("AutoGAN (Gong et al. 2019)", 12.4, Some(8.55), 1),
    system("TransGAN (Jiang et al. 2021)", 9.26, Some(9.05), 1),
    system("Progressive distillation (Salimans and Ho 2022)", 9.12, None, 1),
    system("Consistency training (Song et al. 2023)", 8.70, Some(8.49), 1),
    system("2-rectified flow, distilled (Liu et al. 2023)", 4.85, Some(9.01), 1),
    system("Consistency distillation (Song et al. 2023)", 3.55, Some(9.48), 1),
    system("StyleGAN2-ADA (Karras et al. 2020)", 2.92, Some(9.83), 1),
];
