//! From what a person wrote to what the modules need. Every struct is taken apart by name, so that a new entry of the
//! recipe cannot be forgotten here.

use cvx_data::{ClassList, LabelEncoding, ZeroLabel};
use cvx_heads::{FcnHeadConfig, PixelMean, SegmentationLossConfig, UperNetConfig};

use super::{
    Auxiliary, Classes, Convention, Data, FolderData, Labels, Loss, MeanOver, Recipe, Upernet, Zero,
};

impl Upernet {
    /// The heads' configuration.
    pub fn config(&self) -> UperNetConfig {
        let Self { num_classes, channels, pool_scales, dropout, auxiliary, loss } = self;
        UperNetConfig::new(*num_classes)
            .with_channels(*channels)
            .with_pool_scales(pool_scales.clone())
            .with_dropout(*dropout)
            .with_auxiliary(auxiliary.as_ref().map(Auxiliary::config))
            .with_loss(loss.config())
    }
}

impl Auxiliary {
    fn config(&self) -> FcnHeadConfig {
        let Self { channels, num_convs, loss_weight } = self;
        FcnHeadConfig::new()
            .with_channels(*channels)
            .with_num_convs(*num_convs)
            .with_loss_weight(*loss_weight)
    }
}

impl Loss {
    fn config(&self) -> SegmentationLossConfig {
        let Self { cross_entropy, mean_over, class_weights, dice, lovasz } = self;
        SegmentationLossConfig::new()
            .with_cross_entropy(*cross_entropy)
            .with_pixel_mean(match mean_over {
                MeanOver::AllPixels => PixelMean::All,
                MeanOver::LabelledPixels => PixelMean::NotIgnored,
            })
            .with_class_weights(class_weights.clone())
            .with_dice(*dice)
            .with_lovasz(*lovasz)
    }
}

impl FolderData {
    /// Names and colours of the classes.
    pub fn class_list(&self) -> ClassList {
        let mut list = match &self.classes {
            Classes::Ade20k => ClassList::ade20k(),
            Classes::Voc => ClassList::voc(),
            Classes::Cityscapes => ClassList::cityscapes(),
            Classes::Named(names) => ClassList::named(names.clone()),
        };
        if let Some(colors) = &self.colors {
            list.colors.clone_from(colors);
        }
        list
    }
}

/// The colours in which a recipe, as a checkpoint carries it, has the classes of its data; nothing where it only names
/// them, or is of a later version.
pub(crate) fn palette_of(recipe: &str) -> Option<Vec<[u8; 3]>> {
    let recipe: Recipe = toml::from_str(recipe).ok()?;
    let Data::Folders(folders) = recipe.data else { return None };
    let FolderData { classes, colors, labels, .. } = &folders;
    match (labels, classes) {
        (Labels::Palette { colors, .. }, _) => Some(colors.clone()),
        (_, Classes::Named(_)) => colors.clone(),
        _ => Some(folders.class_list().colors),
    }
}

impl Labels {
    /// How label images are read.
    pub fn encoding(&self) -> LabelEncoding {
        match self.clone() {
            Self::Index { zero, ignored } => LabelEncoding::Index {
                zero: match zero {
                    Zero::Class => ZeroLabel::Class,
                    Zero::Ignored => ZeroLabel::Ignored,
                },
                ignored,
            },
            Self::Values { values, ignored } => LabelEncoding::Values { values, ignored },
            Self::Palette { colors, ignored } => LabelEncoding::Palette { colors, ignored },
        }
    }
}

impl Convention {
    /// The evaluator's.
    pub fn convention(self) -> cvx_data::Convention {
        match self {
            Self::Mmseg => cvx_data::Convention::Mmseg,
            Self::Ade => cvx_data::Convention::Ade,
            Self::Detectron2 => cvx_data::Convention::Detectron2,
            Self::Torchmetrics => cvx_data::Convention::Torchmetrics,
        }
    }
}
